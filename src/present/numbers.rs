//! Addresses, times, doubles, hex and base64 as libnmsg writes them.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::put;

/// Appends an address of 4 or 16 octets as glibc's inet_ntop does; of any other length, hex.
pub(super) fn write_address(octets: &[u8], out: &mut Vec<u8>) {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        put!(out, "{}", Ipv4Addr::from(v4));
    } else if let Ok(v6) = <[u8; 16]>::try_from(octets) {
        write_ipv6(v6.into(), out);
    } else {
        write_hex(octets, out);
    }
}

/// glibc prints what is left of the old IPv4-compatible addresses (`::1.2.3.4`) in dotted form; std does not.
fn write_ipv6(address: Ipv6Addr, out: &mut Vec<u8>) {
    let [zeros @ .., high, low] = address.segments();
    if high != 0 && zeros == [0; 6] {
        let (high, low) = (u32::from(high), u32::from(low));
        put!(out, "::{}", Ipv4Addr::from(high << 16 | low));
    } else {
        put!(out, "{address}");
    }
}

/// Appends two lower-case digits an octet.
pub(super) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(bytes.iter().flat_map(|&byte| hex_octet(byte)));
}

/// Appends two lower-case digits and a space an octet.
pub(super) fn write_spaced_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.extend_from_slice(&hex_octet(byte));
        out.push(b' ');
    }
}

/// Appends two upper-case digits an octet.
pub(super) fn write_upper_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(bytes.iter().flat_map(|&byte| hex_octet(byte).map(|digit| digit.to_ascii_uppercase())));
}

/// By hand, because the formatting machinery would be most of the time that printing takes.
fn hex_octet(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0x0f].map(|digit| match digit {
        0..=9 => b'0' + digit,
        _ => b'a' - 10 + digit,
    })
}

/// Appends padded base64 (RFC 4648 §4).
pub(super) fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let room = base64::encoded_len(bytes.len(), true).unwrap_or(0);
    out.resize(start.saturating_add(room), 0);
    let written = out.get_mut(start..).and_then(|tail| STANDARD.encode_slice(bytes, tail).ok());
    out.truncate(start + written.unwrap_or(0));
}

/// Appends `YYYY-MM-DD HH:MM:SS.nnnnnnnnn`, UTC.
pub(super) fn write_time(seconds: i64, nanoseconds: u32, out: &mut Vec<u8>) {
    const DAY: i64 = 86_400;
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    let (hours, minutes) = (second / 3600, second / 60 % 60);
    put!(out, "{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{:02}.{nanoseconds:09}", second % 60);
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from March here, so that the leap day is a year's last, and in eras of 400 years, after which the
/// calendar repeats. Our own, because the times of a payload are any i64 and no calendar crate takes them all.
fn civil(days_since_1970: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    const MARCH_1_OF_YEAR_0: i64 = -719_468;
    let days = days_since_1970 - MARCH_1_OF_YEAR_0;
    let (era, day_of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Appends a double as C's `%.18f` less its trailing zeros, one decimal kept; JSON has no way to write infinities.
pub(super) fn write_double(number: f64, out: &mut Vec<u8>) {
    if !number.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    put!(out, "{number:.18}");
    while out.ends_with(b"0") && !out.ends_with(b".0") {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_are_glibcs() {
        let v6 = |address: &str| text(|out| write_address(&address.parse::<Ipv6Addr>().unwrap().octets(), out));
        for same in ["::", "::1", "::ffff:192.0.2.1", "2001:db8::1:0:0:1", "1:0:2:3:4:5:6:7", "::1.2.3.4", "::1:0:0"] {
            assert_eq!(v6(same), same);
        }
        assert_eq!(text(|out| write_address(&[192, 0, 2, 1], out)), "192.0.2.1");
        assert_eq!(text(|out| write_address(&[192, 0, 2], out)), "c00002");
    }

    #[test]
    fn times_of_every_size_print() {
        let time = |seconds| text(|out| write_time(seconds, 7, out));
        assert_eq!(time(0), "1970-01-01 00:00:00.000000007");
        assert_eq!(time(951_827_696), "2000-02-29 12:34:56.000000007");
        assert_eq!(time(4_107_542_399), "2100-02-28 23:59:59.000000007");
        assert_eq!(time(-1), "1969-12-31 23:59:59.000000007");
        time(i64::MAX);
        time(i64::MIN);
        assert!(text(|out| write_time(0, u32::MAX, out)).ends_with(".4294967295"));
    }

    #[test]
    fn doubles_keep_eighteen_decimals_and_at_least_one() {
        let double = |number| text(|out| write_double(number, out));
        assert_eq!(double(0.1), "0.100000000000000006");
        assert_eq!(double(4.0), "4.0");
        assert_eq!(double(200.0), "200.0");
        assert_eq!(double(0.02), "0.02");
        assert_eq!(double(0.0), "0.0");
        assert_eq!(double(f64::NAN), "null");
        assert_eq!(double(f64::MAX).len(), 311);
    }

    #[test]
    fn hex_is_two_digits_an_octet() {
        assert_eq!(text(|out| write_hex(&[0x00, 0x9a, 0xff], out)), "009aff");
        assert_eq!(text(|out| write_spaced_hex(&[0x0a, 0xf0], out)), "0a f0 ");
        assert_eq!(text(|out| write_upper_hex(&[0x0a, 0xf9], out)), "0AF9");
    }

    #[test]
    fn base64_is_padded() {
        assert_eq!(text(|out| write_base64(b"abcd", out)), "YWJjZA==");
        assert_eq!(text(|out| write_base64(b"", out)), "");
    }
}
