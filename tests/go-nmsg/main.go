// Command go-nmsg reads NMSG files with Debian's golang-github-farsightsec-go-nmsg-dev, a reader that shares no code
// with ours, and prints a line for each payload. It checks what that library leaves unchecked: that there is one crc
// for each payload and that it is right, that a container inflates to the length it says, that no dnsqr has a field
// that the library does not know, and that the last container ends where the file does.
//
// It exits with 1 at the first thing that is wrong, and says what and where.
package main

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/bits"
	"os"
	"strings"

	"github.com/farsightsec/go-nmsg"
	"github.com/farsightsec/go-nmsg/nmsg_base"
)

const (
	headerLen = 10
	flagZlib  = 1
	// The most that a container may hold before compression, its header included.
	containerMax = nmsg.MaxContainerSize
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	for _, path := range os.Args[1:] {
		if err := readFile(out, path); err != nil {
			out.Flush()
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			os.Exit(1)
		}
	}
	if err := out.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// readFile prints a line `file CONTAINERS` behind the payloads of a file.
func readFile(out io.Writer, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rest, containers := data, 0
	for len(rest) > 0 {
		offset := len(data) - len(rest)
		reader := bytes.NewReader(rest)
		container := nmsg.NewContainer()
		if _, err := container.ReadFrom(reader); err != nil {
			return fmt.Errorf("offset %d: %w", offset, err)
		}
		if err := checkContainer(rest[:len(rest)-reader.Len()], container); err != nil {
			return fmt.Errorf("offset %d: %w", offset, err)
		}
		for index, payload := range container.Payloads {
			if err := printPayload(out, payload); err != nil {
				return fmt.Errorf("offset %d: payload %d: %w", offset, index, err)
			}
		}
		rest = rest[len(rest)-reader.Len():]
		containers++
	}
	_, err = fmt.Fprintf(out, "file %d\n", containers)
	return err
}

func checkContainer(raw []byte, container *nmsg.Container) error {
	if container.NmsgFragment != nil {
		return fmt.Errorf("a container fragment in a file")
	}
	if len(container.Payloads) == 0 {
		return fmt.Errorf("an empty container")
	}
	if len(container.PayloadCrcs) != len(container.Payloads) {
		return fmt.Errorf("%d crcs for %d payloads", len(container.PayloadCrcs), len(container.Payloads))
	}
	for index, payload := range container.Payloads {
		sum := bits.ReverseBytes32(crc32.Checksum(payload.Payload, crc32.MakeTable(crc32.Castagnoli)))
		if container.PayloadCrcs[index] != sum {
			return fmt.Errorf("payload %d: crc %08x, should be %08x", index, container.PayloadCrcs[index], sum)
		}
	}
	if unknown := container.Nmsg.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		return fmt.Errorf("unknown fields %x", unknown)
	}
	return checkLength(raw, len(container.Payloads))
}

// checkLength holds the length before compression against what is declared and allowed.
func checkLength(raw []byte, payloads int) error {
	length := len(raw)
	if raw[4]&flagZlib != 0 {
		declared := int(binary.BigEndian.Uint32(raw[headerLen:]))
		stream := bytes.NewReader(raw[headerLen+4:])
		inflater, err := zlib.NewReader(stream)
		if err != nil {
			return err
		}
		inflated, err := io.Copy(io.Discard, inflater)
		if err != nil {
			return err
		}
		if int(inflated) != declared || stream.Len() > 0 {
			return fmt.Errorf("inflates to %d bytes, %d declared, %d left over", inflated, declared, stream.Len())
		}
		length = headerLen + declared
	}
	if length >= containerMax && payloads > 1 {
		return fmt.Errorf("%d bytes before compression, %d allowed", length, containerMax)
	}
	return nil
}

// printPayload writes vid, msgtype, time, and the fields of the dnsqr by number: bytes in hex, repeated fields with
// commas, the timeout as the bits of its float, an absent field as `-`.
func printPayload(out io.Writer, payload *nmsg.NmsgPayload) error {
	if unknown := payload.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		return fmt.Errorf("unknown fields %x", unknown)
	}
	if payload.Source != nil || payload.Operator != nil || payload.Group != nil {
		return fmt.Errorf("source, operator or group set")
	}
	message, err := payload.Message()
	if err != nil {
		return err
	}
	qr, ok := message.(*nmsg_base.DnsQR)
	if !ok {
		return fmt.Errorf("vid %d msgtype %d is no dnsqr", payload.GetVid(), payload.GetMsgtype())
	}
	if unknown := qr.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		return fmt.Errorf("unknown fields of dnsqr %x", unknown)
	}
	fields := []string{
		fmt.Sprintf("%d %d %d.%09d", payload.GetVid(), payload.GetMsgtype(), payload.GetTimeSec(), payload.GetTimeNsec()),
		fmt.Sprintf("1=%d", qr.GetType()),
		"2=" + hex.EncodeToString(qr.QueryIp),
		"3=" + hex.EncodeToString(qr.ResponseIp),
		"4=" + number(qr.Proto),
		"5=" + number(qr.QueryPort),
		"6=" + number(qr.ResponsePort),
		"7=" + number(qr.Id),
		"8=" + optional(qr.Qname),
		"9=" + number(qr.Qtype),
		"10=" + number(qr.Qclass),
		"11=" + number(qr.Rcode),
		"12=" + list(qr.QueryPacket, "%x"),
		"13=" + list(qr.QueryTimeSec, "%d"),
		"14=" + list(qr.QueryTimeNsec, "%d"),
		"15=" + list(qr.ResponsePacket, "%x"),
		"16=" + list(qr.ResponseTimeSec, "%d"),
		"17=" + list(qr.ResponseTimeNsec, "%d"),
		"18=" + optional(qr.Tcp),
		"19=" + optional(qr.Icmp),
		"20=-", "21=-", "22=-",
	}
	if qr.Timeout != nil {
		fields[20] = fmt.Sprintf("20=%016x", math.Float64bits(*qr.Timeout))
	}
	if qr.UdpChecksum != nil {
		fields[21] = fmt.Sprintf("21=%d", *qr.UdpChecksum)
	}
	if qr.ResolverAddressZeroed != nil {
		fields[22] = fmt.Sprintf("22=%t", *qr.ResolverAddressZeroed)
	}
	_, err = fmt.Fprintln(out, strings.Join(fields, " "))
	return err
}

func number(value *uint32) string {
	if value == nil {
		return "-"
	}
	return fmt.Sprint(*value)
}

func optional(value []byte) string {
	if value == nil {
		return "-"
	}
	return hex.EncodeToString(value)
}

func list[T any](values []T, verb string) string {
	texts := make([]string, len(values))
	for index, value := range values {
		texts[index] = fmt.Sprintf(verb, value)
	}
	return strings.Join(texts, ",")
}
