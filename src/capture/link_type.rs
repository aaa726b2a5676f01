//! Link types by number and name.

use std::fmt;

use super::LinkType;

impl LinkType {
    /// The link type a LINKTYPE_ number of a file stands for; `None` for one we do not decode.
    pub(super) fn from_number(number: u16) -> Option<LinkType> {
        Some(match number {
            0 => LinkType::Null,
            1 => LinkType::Ethernet,
            // 12 and 14 are what DLT_RAW was on other systems than Linux; files with them exist.
            12 | 14 | 101 => LinkType::Raw,
            108 => LinkType::Loop,
            113 => LinkType::LinuxSll,
            228 => LinkType::Ipv4,
            229 => LinkType::Ipv6,
            276 => LinkType::LinuxSll2,
            _ => return None,
        })
    }
}

/// Says which link type a file has that is not supported, and which are.
pub(super) struct Unsupported(pub(super) u16);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.0) {
            Some(name) => write!(f, "link type {name} ({})", self.0)?,
            None => write!(f, "link type {}", self.0)?,
        }
        f.write_str(" is not supported; supported: ")?;
        f.write_str("NULL, EN10MB, RAW, LOOP, LINUX_SLL, IPV4, IPV6, LINUX_SLL2")
    }
}

/// The name that libpcap and `tcpdump -L` use (DLT_ without its prefix), for those one may meet.
fn name(number: u16) -> Option<&'static str> {
    Some(match number {
        3 => "AX25",
        6 => "IEEE802",
        7 => "ARCNET",
        8 => "SLIP",
        9 => "PPP",
        10 => "FDDI",
        50 => "PPP_SERIAL",
        51 => "PPP_ETHER",
        100 => "ATM_RFC1483",
        104 => "C_HDLC",
        105 => "IEEE802_11",
        107 => "FRELAY",
        117 => "PFLOG",
        119 => "PRISM_HEADER",
        122 => "IP_OVER_FC",
        127 => "IEEE802_11_RADIO",
        138 => "APPLE_IP_OVER_IEEE1394",
        143 => "DOCSIS",
        147 => "USER0",
        163 => "IEEE802_11_RADIO_AVS",
        166 => "PPP_PPPD",
        187 => "BLUETOOTH_HCI_H4",
        189 => "USB_LINUX",
        192 => "PPI",
        195 => "IEEE802_15_4",
        220 => "USB_LINUX_MMAPPED",
        227 => "CAN_SOCKETCAN",
        239 => "NFLOG",
        249 => "USBPCAP",
        251 => "BLUETOOTH_LE_LL",
        253 => "NETLINK",
        _ => return None,
    })
}
