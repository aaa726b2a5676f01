//! Containers for tests, made by an encoder that is not ours (prost), so that a mistake cannot agree with itself.

use prost::Message;

use super::container::{HEADER_LEN, MAGIC, VERSION, checksum};

/// The body of a container.
#[derive(Clone, PartialEq, Message)]
pub struct Nmsg {
    #[prost(message, repeated, tag = "1")]
    pub payloads: Vec<NmsgPayload>,
    #[prost(uint32, repeated, packed = "false", tag = "2")]
    pub payload_crcs: Vec<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub sequence: Option<u32>,
    #[prost(uint64, optional, tag = "4")]
    pub sequence_id: Option<u64>,
}

impl Nmsg {
    /// Its bytes.
    pub fn encoded(&self) -> Vec<u8> {
        self.encode_to_vec()
    }
}

/// A payload.
#[derive(Clone, PartialEq, Message)]
pub struct NmsgPayload {
    #[prost(uint32, required, tag = "1")]
    pub vid: u32,
    #[prost(uint32, required, tag = "2")]
    pub msgtype: u32,
    #[prost(int64, required, tag = "3")]
    pub time_sec: i64,
    #[prost(fixed32, required, tag = "4")]
    pub time_nsec: u32,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub payload: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "7")]
    pub source: Option<u32>,
    #[prost(uint32, optional, tag = "8")]
    pub operator: Option<u32>,
    #[prost(uint32, optional, tag = "9")]
    pub group: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct NmsgFragment {
    #[prost(uint32, required, tag = "1")]
    id: u32,
    #[prost(uint32, required, tag = "2")]
    current: u32,
    #[prost(uint32, required, tag = "3")]
    last: u32,
    #[prost(bytes = "vec", required, tag = "4")]
    fragment: Vec<u8>,
    #[prost(uint32, optional, tag = "5")]
    crc: Option<u32>,
}

/// A dnsqr message, the fields that tests need.
#[derive(Clone, PartialEq, Message)]
pub struct NmsgDnsqr {
    #[prost(uint32, required, tag = "1")]
    pub kind: u32,
    #[prost(bytes = "vec", required, tag = "2")]
    pub query_ip: Vec<u8>,
    #[prost(bytes = "vec", required, tag = "3")]
    pub response_ip: Vec<u8>,
    #[prost(uint32, required, tag = "4")]
    pub proto: u32,
    #[prost(uint32, required, tag = "5")]
    pub query_port: u32,
    #[prost(uint32, required, tag = "6")]
    pub response_port: u32,
    #[prost(uint32, required, tag = "7")]
    pub id: u32,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub qname: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "9")]
    pub qtype: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    pub qclass: Option<u32>,
    #[prost(uint32, optional, tag = "11")]
    pub rcode: Option<u32>,
    #[prost(bytes = "vec", repeated, tag = "12")]
    pub query_packet: Vec<Vec<u8>>,
    #[prost(int64, repeated, packed = "false", tag = "13")]
    pub query_time_sec: Vec<i64>,
    #[prost(sfixed32, repeated, packed = "false", tag = "14")]
    pub query_time_nsec: Vec<i32>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    pub response_packet: Vec<Vec<u8>>,
    #[prost(int64, repeated, packed = "false", tag = "16")]
    pub response_time_sec: Vec<i64>,
    #[prost(sfixed32, repeated, packed = "false", tag = "17")]
    pub response_time_nsec: Vec<i32>,
}

/// A body whose payloads hold these messages, of a type nobody defined.
pub fn nmsg(messages: &[&str]) -> Nmsg {
    let mut body = Nmsg::default();
    for message in messages {
        body.push(NmsgPayload {
            vid: 200,
            msgtype: 1,
            payload: Some(message.as_bytes().to_vec()),
            ..Default::default()
        });
    }
    body
}

impl Nmsg {
    /// Adds a payload and its checksum.
    pub fn push(&mut self, payload: NmsgPayload) {
        self.payload_crcs.push(checksum(payload.payload.as_deref().unwrap_or_default()));
        self.payloads.push(payload);
    }
}

/// A container around a body.
pub fn container(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + body.len());
    bytes.extend(MAGIC);
    bytes.extend([flags, VERSION]);
    bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A body compressed as the zlib flag wants it.
pub fn zlib(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    let mut encoder = flate2::write::ZlibEncoder::new(&mut bytes, flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap();
    bytes
}

/// The body of a container with the fragment flag.
pub fn fragment(id: u32, current: u32, last: u32, bytes: &[u8], crc: Option<u32>) -> Vec<u8> {
    NmsgFragment { id, current, last, fragment: bytes.to_vec(), crc }.encode_to_vec()
}
