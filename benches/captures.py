#!/usr/bin/env python3
"""Synthetic captures for benches and memory checks: captures.py KIND COUNT OUT.pcap

names      COUNT transactions, every name another: query, then response
queries    COUNT queries that nobody answers
responses  COUNT responses that nobody asked for
frags      COUNT first fragments of responses whose rest never comes
tcp        COUNT connections, each with a response segment past a hole
tcp-slow   COUNT connections, each with the first 1 200 bytes of a 60 000-byte response

All in 20 seconds of packet time, so that timeouts do not empty the tables. Addresses are those of documentation
(RFC 5737); the resolver is 192.0.2.53. The same arguments give the same bytes.
"""
import random
import socket
import struct
import sys

RESOLVER = socket.inet_aton("192.0.2.53")
ETHERNET = bytes(12) + b"\x08\x00"
START = 1_790_000_000
SPAN_US = 20_000_000
RECORD = struct.Struct("<IIII")
SYN, ACK, PSH = 0x02, 0x10, 0x08


def ipv4(source, destination, protocol, ident, flags, payload):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), ident & 0xFFFF, flags, 64, protocol, 0)
    return head + source + destination + payload


def udp(source_port, destination_port, data):
    return struct.pack(">HHHH", source_port, destination_port, 8 + len(data), 0) + data


def tcp(source_port, destination_port, sequence, acknowledged, flags, data=b""):
    head = struct.pack(">HHIIBBHHH", source_port, destination_port, sequence, acknowledged, 0x50, flags, 65535, 0, 0)
    return head + data


def message(number, is_response):
    name = b"".join(bytes([len(label)]) + label for label in (b"n%x" % number, b"d%x" % (number % 5000), b"example", b"com"))
    question = name + b"\0\0\x01\0\x01"
    if not is_response:
        return struct.pack(">6H", number & 0xFFFF, 0, 1, 0, 0, 0) + question
    answer = b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xcb\0\x71" + bytes([number & 0xFF])
    return struct.pack(">6H", number & 0xFFFF, 0x8400, 1, 1, 0, 0) + question + answer


def packets(kind, number, draw):
    """The IP packets of one transaction, connection or datagram."""
    server = struct.pack(">I", 0xC6336400 + number * 2_654_435_761 % 0x20000)
    port = 1024 + number * 40_503 % 64_000
    query = ipv4(RESOLVER, server, 17, number, 0, udp(port, 53, message(number, False)))
    response = ipv4(server, RESOLVER, 17, number, 0, udp(53, port, message(number, True)))
    if kind == "names":
        return [query, response]
    if kind == "queries":
        return [query]
    if kind == "responses":
        return [response]
    if kind == "frags":
        datagram = udp(53, port, message(number, True) + bytes(1400))
        return [ipv4(server, RESOLVER, 17, number + (number >> 16), 0x2000, datagram[:1208])]
    start = draw.getrandbits(32)
    after = (start + 1) & 0xFFFFFFFF
    handshake = [tcp(port, 53, start, 0, SYN), tcp(53, port, start, after, SYN | ACK)]
    if kind == "tcp":
        data = tcp(53, port, (start + 5000) & 0xFFFFFFFF, after, PSH | ACK, bytes(1200))
    else:
        data = tcp(53, port, after, after, PSH | ACK, struct.pack(">H", 60_000) + bytes(1198))
    ends = [(RESOLVER, server), (server, RESOLVER), (server, RESOLVER)]
    return [ipv4(*end, 6, number, 0, segment) for end, segment in zip(ends, [*handshake, data])]


def main():
    kinds = ("names", "queries", "responses", "frags", "tcp", "tcp-slow")
    if len(sys.argv) != 4 or sys.argv[1] not in kinds or not sys.argv[2].isdigit():
        sys.exit(__doc__)
    kind, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    draw = random.Random(1)
    with open(path, "wb", buffering=1 << 20) as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
        for number in range(count):
            seconds, micros = divmod(SPAN_US * number // count, 1_000_000)
            for packet in packets(kind, number, draw):
                length = len(ETHERNET) + len(packet)
                out.write(RECORD.pack(START + seconds, micros, length, length) + ETHERNET + packet)


main()
