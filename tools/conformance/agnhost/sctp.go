package main

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// RFC 9260: an association is open after INIT, INIT ACK, COOKIE ECHO and COOKIE ACK.
const (
	chunkInit       = 1
	chunkInitAck    = 2
	chunkCookieEcho = 10
	chunkCookieAck  = 11

	commonHeader = 12
	chunkHeader  = 4
	// Initiate tag, window, streams out and in, first sequence number.
	initFields  = 16
	stateCookie = 7
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A packet with one chunk.
type packet struct {
	source, destination uint16
	tag                 uint32
	kind                byte
	value               []byte
}

func (p packet) bytes() []byte {
	data := binary.BigEndian.AppendUint16(nil, p.source)
	data = binary.BigEndian.AppendUint16(data, p.destination)
	data = binary.BigEndian.AppendUint32(data, p.tag)
	data = append(data, 0, 0, 0, 0, p.kind, 0)
	data = binary.BigEndian.AppendUint16(data, uint16(chunkHeader+len(p.value)))
	data = append(data, p.value...)
	for len(data)%4 != 0 {
		data = append(data, 0)
	}
	// The one field that is little-endian.
	binary.LittleEndian.PutUint32(data[8:], crc32.Checksum(data, castagnoli))
	return data
}

func parse(data []byte) (packet, bool) {
	if len(data) < commonHeader+chunkHeader {
		return packet{}, false
	}
	length := int(binary.BigEndian.Uint16(data[commonHeader+2:]))
	if length < chunkHeader || commonHeader+length > len(data) {
		return packet{}, false
	}
	return packet{
		source:      binary.BigEndian.Uint16(data),
		destination: binary.BigEndian.Uint16(data[2:]),
		tag:         binary.BigEndian.Uint32(data[4:]),
		kind:        data[commonHeader],
		value:       data[commonHeader+chunkHeader : commonHeader+length],
	}, true
}

// What INIT and INIT ACK say of the sender.
func initial(tag uint32) []byte {
	fields := binary.BigEndian.AppendUint32(nil, tag)
	fields = binary.BigEndian.AppendUint32(fields, 65536)
	fields = append(fields, 0, 1, 0, 1)
	return binary.BigEndian.AppendUint32(fields, tag)
}

// What is sent back to a client; nil for what needs no answer.
func answer(asked packet) *packet {
	reply := packet{source: asked.destination, destination: asked.source}
	switch {
	case asked.kind == chunkInit && len(asked.value) >= initFields:
		// The cookie holds the client's tag, which is all that is to be known.
		tag := asked.value[:4]
		reply.kind, reply.tag = chunkInitAck, binary.BigEndian.Uint32(tag)
		reply.value = append(initial(1), 0, stateCookie, 0, chunkHeader+4)
		reply.value = append(reply.value, tag...)
	case asked.kind == chunkCookieEcho && asked.tag == 1 && len(asked.value) == 4:
		reply.kind, reply.tag = chunkCookieAck, binary.BigEndian.Uint32(asked.value)
	default:
		return nil
	}
	return &reply
}

// Answers on these ports, from the address that was asked.
func serve(ports map[uint16]bool) error {
	four, err := net.ListenPacket("ip4:132", "0.0.0.0")
	if err != nil {
		return err
	}
	if six, err := net.ListenPacket("ip6:132", "::"); err == nil {
		go serve6(ipv6.NewPacketConn(six), ports)
	}
	connection := ipv4.NewPacketConn(four)
	if err := connection.SetControlMessage(ipv4.FlagDst, true); err != nil {
		return err
	}
	buffer := make([]byte, 2048)
	for {
		n, control, client, err := connection.ReadFrom(buffer)
		if err != nil {
			return err
		}
		asked, ok := parse(buffer[:n])
		if !ok || control == nil || !ports[asked.destination] {
			continue
		}
		if reply := answer(asked); reply != nil {
			// A client that is gone is no reason to end.
			_, _ = connection.WriteTo(reply.bytes(), &ipv4.ControlMessage{Src: control.Dst}, client)
		}
	}
}

func serve6(connection *ipv6.PacketConn, ports map[uint16]bool) {
	if connection.SetControlMessage(ipv6.FlagDst, true) != nil {
		return
	}
	buffer := make([]byte, 2048)
	for {
		n, control, client, err := connection.ReadFrom(buffer)
		if err != nil {
			return
		}
		asked, ok := parse(buffer[:n])
		if !ok || control == nil || !ports[asked.destination] {
			continue
		}
		if reply := answer(asked); reply != nil {
			_, _ = connection.WriteTo(reply.bytes(), &ipv6.ControlMessage{Src: control.Dst}, client)
		}
	}
}

// Whether an association could be opened in time. What gets no answer is said again.
func associate(server *net.IPAddr, port uint16, timeout time.Duration) (bool, error) {
	network := "ip6:132"
	if server.IP.To4() != nil {
		network = "ip4:132"
	}
	connection, err := net.ListenPacket(network, "")
	if err != nil {
		return false, err
	}
	defer connection.Close()
	own := uint16(32768 + rand.IntN(28000))
	tag := rand.Uint32() | 1
	next := packet{source: own, destination: port, kind: chunkInit, value: initial(tag)}
	buffer := make([]byte, 2048)
	for end := time.Now().Add(timeout); time.Now().Before(end); {
		// A refusal by ICMP, or a route that is missing for a moment, counts as silence.
		_, _ = connection.WriteTo(next.bytes(), server)
		patience := min(500*time.Millisecond, time.Until(end))
		if err := connection.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return false, err
		}
		for {
			n, from, err := connection.ReadFrom(buffer)
			if err != nil {
				break
			}
			reply, ok := parse(buffer[:n])
			address, isIP := from.(*net.IPAddr)
			if !ok || !isIP || !address.IP.Equal(server.IP) || reply.source != port || reply.destination != own || reply.tag != tag {
				continue
			}
			if reply.kind == chunkCookieAck {
				return true, nil
			}
			if reply.kind == chunkInitAck && len(reply.value) > initFields+chunkHeader {
				next.kind, next.tag = chunkCookieEcho, binary.BigEndian.Uint32(reply.value)
				next.value = append([]byte(nil), reply.value[initFields+chunkHeader:]...)
				break
			}
		}
	}
	return false, nil
}
