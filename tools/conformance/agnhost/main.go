// Stands in front of Kubernetes' agnhost where the kernel has no SCTP, and does what the suites ask of it in that protocol by
// itself, with raw sockets: `porter` serves the ports of SERVE_SCTP_PORT_…, `connect --protocol=sctp` opens an association.
// Whatever else is asked, agnhost does.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Where agnhost is in the image.
const agnhost = "/agnhost-kubernetes"

func main() {
	arguments := os.Args[1:]
	switch ports := servedPorts(os.Environ()); {
	case len(arguments) > 0 && arguments[0] == "porter" && len(ports) > 0:
		log.Fatal(serve(ports))
	case len(arguments) > 0 && arguments[0] == "connect" && option(arguments, "--protocol") == "sctp":
		connect(arguments)
	default:
		log.Fatal(syscall.Exec(agnhost, append([]string{"agnhost"}, arguments...), os.Environ()))
	}
}

func servedPorts(environment []string) map[uint16]bool {
	ports := map[uint16]bool{}
	for _, variable := range environment {
		name, _, _ := strings.Cut(variable, "=")
		if text, ok := strings.CutPrefix(name, "SERVE_SCTP_PORT_"); ok {
			if port, err := strconv.ParseUint(text, 10, 16); err == nil {
				ports[uint16(port)] = true
			}
		}
	}
	return ports
}

// The value of `--name=value` or `--name value`.
func option(arguments []string, name string) string {
	for i, argument := range arguments {
		if value, ok := strings.CutPrefix(argument, name+"="); ok {
			return value
		}
		if argument == name && i+1 < len(arguments) {
			return arguments[i+1]
		}
	}
	return ""
}

// Says on standard error how it ended, as agnhost does.
func connect(arguments []string) {
	timeout, err := time.ParseDuration(option(arguments, "--timeout"))
	if err != nil {
		timeout = 3 * time.Second
	}
	var target string
	for i := 1; i < len(arguments); i++ {
		if strings.HasPrefix(arguments[i], "--") {
			if !strings.Contains(arguments[i], "=") {
				i++
			}
			continue
		}
		target = arguments[i]
	}
	host, service, err := net.SplitHostPort(target)
	if err != nil {
		fail("UNKNOWN: %v", err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		fail("UNKNOWN: %v", err)
	}
	address, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		fail("DNS: %v", err)
	}
	switch associated, err := associate(address, uint16(port), timeout); {
	case err != nil:
		fail("OTHER: %v", err)
	case !associated:
		fail("TIMEOUT")
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}
