//! What is told of one transaction.

use crate::{
    config::parse_name,
    nmsg::{dnsqr::suffixes, packets},
    present::names::{NAME_MAX, domain},
    report::{
        exchange::{Exchange, Seen},
        message::facts,
    },
    track::Transaction,
};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv6Addr};

/// Numbers that hold one: what fits in a number, the delay, the address, the name.
pub(super) const WORDS: usize = 4 + NAME_MAX.div_ceil(8);
/// A byte that is none.
const NO_BYTE: u8 = u8::MAX;
/// A delay that is none.
const NO_DELAY: u64 = u64::MAX;

/// What became of queries, and what it is called.
const ENDS: [(Seen, &str); 5] = [
    (Seen::Answered, "answered"),
    (Seen::Unanswered, "unanswered"),
    (Seen::Unsolicited, "unsolicited"),
    (Seen::QueryAlone, "query"),
    (Seen::ResponseAlone, "response"),
];

/// One transaction: of the server, never of who asked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    seen: Seen,
    server: IpAddr,
    /// In wire form; empty where there was no question.
    name: Vec<u8>,
    /// Where in the name the zone begins that the response names.
    zone: Option<u8>,
    rcode: Option<u8>,
    /// Nanoseconds.
    delay: Option<u64>,
}

impl Sample {
    /// Looks into the response as a report does, to find the zone. Some allocations.
    pub(super) fn of(transaction: &Transaction) -> Sample {
        let name = transaction.question.as_ref().map(|question| question.qname()).unwrap_or_default();
        let response = transaction.response.as_ref();
        let delay = transaction.query.zip(response).map(|(query, it)| it.packets.time().since(query.time()));
        let zone = response.and_then(|response| {
            let message = packets::message(&response.packets.bytes().collect::<Vec<_>>())?;
            let zone = facts(&message, Some(name)).zone?;
            u8::try_from(name.len().checked_sub(zone.len())?).ok()
        });
        Sample {
            seen: transaction.kind.into(),
            server: transaction.flow.response_ip,
            name: name.to_vec(),
            zone,
            rcode: response.map(|response| response.rcode),
            delay: delay.map(|delay| u64::try_from(delay.as_nanos()).unwrap_or(NO_DELAY - 1)),
        }
    }

    pub(super) fn to_words(&self) -> [u64; WORDS] {
        let end = ENDS.iter().position(|(seen, _)| *seen == self.seen).unwrap_or(ENDS.len());
        let bytes = [
            end as u8,
            self.rcode.unwrap_or(NO_BYTE),
            self.zone.unwrap_or(NO_BYTE),
            u8::try_from(self.name.len()).unwrap_or_default(),
        ];
        let address = match self.server {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let mut words = [0; WORDS];
        let [first, second] = halves(address.octets());
        let fixed = [u32::from_be_bytes(bytes).into(), self.delay.unwrap_or(NO_DELAY), first, second];
        let name = self.name.chunks(8).map(|chunk| {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            u64::from_be_bytes(bytes)
        });
        words.iter_mut().zip(fixed.into_iter().chain(name)).for_each(|(to, word)| *to = word);
        words
    }

    /// None of what no [`Self::to_words`] made, but for what makes no difference.
    pub(super) fn from_words(words: &[u64; WORDS]) -> Option<Sample> {
        let [first, delay, high, low, name @ ..] = words;
        let [end, rcode, zone, len] = u32::try_from(*first).ok()?.to_be_bytes();
        let mut name: Vec<u8> = name.iter().flat_map(|word| word.to_be_bytes()).collect();
        name.truncate(len.into());
        let address = Ipv6Addr::from(u128::from(*high) << 64 | u128::from(*low));
        let sample = Sample {
            seen: ENDS.get(usize::from(end))?.0,
            server: address.to_canonical(),
            name,
            zone: Some(zone).filter(|zone| *zone != NO_BYTE),
            rcode: Some(rcode).filter(|rcode| *rcode != NO_BYTE),
            delay: Some(*delay).filter(|delay| *delay != NO_DELAY),
        };
        sample.is_valid().then_some(sample)
    }

    fn is_valid(&self) -> bool {
        let is_name = self.name.is_empty() || suffixes(&self.name).next().is_some();
        is_name && self.zone.is_none_or(|zone| self.labels_before(zone).is_some())
    }

    /// Labels of the name before this place, if one begins there.
    fn labels_before(&self, place: u8) -> Option<usize> {
        suffixes(&self.name).position(|suffix| self.name.len() - suffix.len() == usize::from(place))
    }

    /// What the views child says of it: how the query ended, server, name, labels of it below the zone that the response
    /// names, response code, delay in nanoseconds.
    pub(crate) fn to_json(&self) -> Value {
        let end = ENDS.iter().find(|(seen, _)| *seen == self.seen).map(|(_, name)| *name);
        let name = (!self.name.is_empty()).then(|| domain(&self.name));
        let labels = self.zone.and_then(|zone| self.labels_before(zone));
        json!([end, self.server.to_string(), name, labels, self.rcode, self.delay])
    }

    /// What it said, at the other end of a socket: none of what is no sample.
    pub(crate) fn from_json(value: &Value) -> Option<Sample> {
        let [end, server, name, labels, rcode, delay] = value.as_array()?.as_slice() else { return None };
        let end = end.as_str()?;
        let name = match name.as_str() {
            Some(name) => parse_name(name).ok()?.to_vec(),
            None => Vec::new(),
        };
        let zone = labels.as_u64().and_then(|labels| {
            let zone = suffixes(&name).nth(usize::try_from(labels).ok()?)?;
            u8::try_from(name.len() - zone.len()).ok()
        });
        Some(Sample {
            seen: ENDS.iter().find(|(_, name)| *name == end)?.0,
            server: server.as_str()?.parse().ok()?,
            zone,
            name,
            rcode: rcode.as_u64().and_then(|rcode| rcode.try_into().ok()),
            delay: delay.as_u64(),
        })
    }

    /// For tables of servers and zones.
    pub(crate) fn to_exchange(&self) -> Exchange<'_> {
        Exchange {
            seen: self.seen,
            server: Some(self.server),
            is_tcp: false,
            time: None,
            qname: Some(self.name.as_slice()).filter(|name| !name.is_empty()),
            qtype: None,
            rcode: self.rcode.map(Into::into),
            delay: self.delay,
            query: None,
            response: None,
            zone: self.zone.and_then(|zone| self.name.get(usize::from(zone)..)),
            response_packets: usize::from(self.rcode.is_some()),
        }
    }
}

fn halves(octets: [u8; 16]) -> [u64; 2] {
    let number = u128::from_be_bytes(octets);
    [(number >> 64) as u64, number as u64]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An answer about this name, of the zone that begins there in it.
    pub(crate) fn answer(name: &[u8], zone: Option<u8>) -> Sample {
        let server = "198.51.100.1".parse().unwrap();
        Sample { seen: Seen::Answered, server, name: name.to_vec(), zone, rcode: Some(3), delay: Some(17) }
    }

    #[test]
    fn a_sample_comes_back_from_words_and_from_json() {
        let longest = [&[63; 64][..], &[63; 64], &[63; 64], &[61; 62], &[0]].concat();
        let samples = [
            answer(b"\x03www\x07example\x03net\0", Some(4)),
            answer(b"\x05a.\\ \xff\x01b\0", Some(8)),
            answer(&longest, Some(64)),
            answer(b"\0", Some(0)),
            Sample { seen: Seen::Unanswered, rcode: None, delay: None, ..answer(b"", None) },
            Sample { server: "2001:db8::1".parse().unwrap(), ..answer(b"\x01x\0", None) },
        ];
        for sample in samples {
            assert_eq!(Sample::from_words(&sample.to_words()).as_ref(), Some(&sample));
            let text = sample.to_json().to_string();
            assert!(text.is_ascii() && !text.chars().any(char::is_control), "{text}");
            assert_eq!(Sample::from_json(&serde_json::from_str(&text).unwrap()), Some(sample), "{text}");
        }
        assert_eq!(
            answer(b"\x03www\x07example\x03net\0", Some(4)).to_json(),
            json!(["answered", "198.51.100.1", "www.example.net.", 1, 3, 17])
        );
    }

    #[test]
    fn words_that_no_thread_wrote_are_no_sample() {
        let good = answer(b"\x03www\x07example\x03net\0", Some(4)).to_words();
        for wrong in 0..WORDS {
            for word in [u64::MAX, 1 << 40, 0x4040_4040_4040_4040] {
                let mut words = good;
                words[wrong] = word;
                if let Some(sample) = Sample::from_words(&words) {
                    assert!(sample.is_valid() && !sample.to_json().to_string().contains('\u{1b}'));
                    assert!(sample.to_exchange().qname.is_some());
                }
            }
        }
        let of = |name: &[u8], zone| Sample::from_words(&answer(name, zone).to_words());
        assert_eq!(of(b"\x03www\x07example\x03net", None), None, "cut");
        assert_eq!(of(b"\xc0\x0c\0", None), None, "a pointer");
        assert_eq!(of(b"\x03www\0\0", None), None, "two ends");
        assert_eq!(of(b"\x03www\0", Some(2)), None, "a zone that begins within a label");
    }

    #[test]
    fn json_that_is_no_sample_is_none() {
        let good = json!(["answered", "192.0.2.1", "a.example.", 1, 0, 5]);
        assert!(Sample::from_json(&good).is_some());
        for (at, wrong) in [(0, json!("?")), (0, json!(1)), (1, json!("192.0.2")), (2, json!("a..")), (2, json!("\\3"))]
        {
            let mut bad = good.clone();
            bad[at] = wrong;
            assert_eq!(Sample::from_json(&bad), None, "{bad}");
        }
        assert_eq!(Sample::from_json(&Value::Null), None);
        assert_eq!(Sample::from_json(&json!([1, 2, 3])), None);
    }
}
