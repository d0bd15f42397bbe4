// Web server access logs in the combined format of nginx and Apache.
//
//	client identity user [time] "request" status bytes "referer" "user agent"  more…
package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tidemill"
	"tidemill/parser"
)

func init() {
	info := tidemill.Info{Name: "access-log-go", Version: "0.1.0", About: "nginx and Apache access logs, in Go"}
	parser.Export(info, configure)
}

func main() {}

func configure(struct{}) (tidemill.Contract, tidemill.Call, error) {
	contract := tidemill.Contract{Reads: []string{"body"}, Writes: []tidemill.Field{
		{"timestamp", tidemill.Timestamp}, {"client", tidemill.Utf8}, {"user", tidemill.Utf8}, {"method", tidemill.Utf8},
		{"path", tidemill.Utf8}, {"protocol", tidemill.Utf8}, {"request", tidemill.Utf8}, {"status", tidemill.Int64},
		{"bytes", tidemill.Int64}, {"referer", tidemill.Utf8}, {"user_agent", tidemill.Utf8},
	}}
	return contract, (&days{}).parse, nil
}

func (d *days) parse(input *tidemill.Batch, _ tidemill.Context, output *tidemill.Output) error {
	bodies := input.Texts("body")
	timestamps, clients, users := output.Timestamps("timestamp"), output.Slices("client", bodies), output.Words("user")
	methods, paths, protocols := output.Words("method"), output.Slices("path", bodies), output.Words("protocol")
	requests, statuses, sizes := output.Slices("request", bodies), output.Ints("status"), output.Ints("bytes")
	referers, agents := output.Slices("referer", bodies), output.Slices("user_agent", bodies)
	for row, body := range bodies.All() {
		line, err := read(body)
		if err == nil {
			line.timestamp, err = d.nanoseconds(line.time)
		}
		if err != nil {
			output.Error(row, "%v", err)
			continue
		}
		timestamps.Push(line.timestamp)
		clients.Push(line.client)
		users.PushIf(line.user, line.user != "-")
		method, path, protocol, ok := request(line.request)
		methods.PushIf(method, ok)
		paths.PushIf(resolve(path), ok)
		protocols.PushIf(protocol, protocol != "")
		requests.PushIf(resolve(line.request), !ok && line.request != "-")
		statuses.PushIf(line.status, line.hasStatus)
		sizes.PushIf(line.bytes, line.hasBytes)
		referers.PushIf(resolve(line.referer), line.referer != "-")
		agents.PushIf(resolve(line.agent), line.agent != "-")
	}
	return nil
}

type line struct {
	client, user, time, request, referer, agent string
	timestamp, status, bytes                    int64
	hasStatus, hasBytes                         bool
}

func read(text string) (line, error) {
	var l line
	var ok bool
	rest := text
	expected := func(what string) (line, error) {
		at := len(text) - len(rest) + 1
		if rest == "" {
			return l, fmt.Errorf("byte %d: the line ends where %s should stand", at, what)
		}
		return l, fmt.Errorf("byte %d: %s should stand here, not `%s`", at, what, rest[:min(24, len(rest))])
	}
	if l.client, rest, ok = strings.Cut(rest, " "); !ok || l.client == "" {
		rest = text
		return expected("the client's address")
	}
	if _, after, found := strings.Cut(rest, " "); found {
		rest = after
	}
	if l.user, rest, ok = strings.Cut(rest, " ["); !ok {
		return expected("the user (usually `-`) and a time in brackets")
	}
	if l.time, rest, ok = strings.Cut(rest, "]"); !ok {
		return expected("a time that ends with `]`")
	}
	if l.request, rest, ok = quoted(rest); !ok {
		return expected("the request in double quotes")
	}
	if l.status, l.hasStatus, rest, ok = number(rest); !ok {
		return expected("the status, a number or `-`,")
	}
	if l.bytes, l.hasBytes, rest, ok = number(rest); !ok {
		return expected("the number of bytes, a number or `-`,")
	}
	if l.referer, rest, ok = quoted(rest); !ok {
		return expected("the referer in double quotes")
	}
	if l.agent, rest, ok = quoted(rest); !ok {
		if l.agent, ok = strings.CutPrefix(rest, ` "`); !ok {
			return expected("the user agent in double quotes")
		}
	}
	return l, nil
}

// A field in quotes behind a space, escapes not resolved.
func quoted(text string) (field, rest string, ok bool) {
	inside, ok := strings.CutPrefix(text, ` "`)
	if !ok {
		return "", text, false
	}
	for at := 0; at < len(inside); at++ {
		next := strings.IndexAny(inside[at:], `"\`)
		if next < 0 {
			break
		}
		if at += next; inside[at] == '"' {
			return inside[:at], inside[at+1:], true
		}
		at++ // what is escaped closes nothing
	}
	return "", text, false
}

func number(text string) (value int64, isThere bool, rest string, ok bool) {
	digits, found := strings.CutPrefix(text, " ")
	if end := strings.IndexByte(digits, ' '); end >= 0 {
		digits, rest = digits[:end], digits[end:]
	}
	if found && digits == "-" {
		return 0, false, rest, true
	}
	parsed, err := strconv.ParseUint(digits, 10, 63)
	if !found || err != nil {
		return 0, false, text, false
	}
	return int64(parsed), true, rest, true
}

// Method, path and protocol; HTTP/0.9 has no protocol.
func request(text string) (method, path, protocol string, ok bool) {
	method, rest, ok := strings.Cut(text, " ")
	isLetter := func(r rune) bool { return r|32 >= 'a' && r|32 <= 'z' || r == '-' || r == '_' }
	if !ok || method == "" || strings.TrimLeftFunc(method, isLetter) != "" {
		return "", "", "", false
	}
	end := strings.LastIndexByte(rest, ' ')
	if end < 0 {
		return method, rest, "", strings.HasPrefix(rest, "/")
	}
	name, number, slash := strings.Cut(rest[end+1:], "/")
	if !slash || name == "" || strings.Trim(number, "0123456789.") != "" || number == "" {
		return "", "", "", false
	}
	return method, rest[:end], rest[end+1:], end > 0
}

// Escapes of nginx (`\x22`) and Apache (`\"`, `\n`).
func resolve(text string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text
	}
	var out []byte
	for at := 0; at < len(text); at++ {
		if text[at] != '\\' || at+1 == len(text) {
			out = append(out, text[at])
			continue
		}
		if place := strings.IndexByte(`"\nrtbvf`, text[at+1]); place >= 0 {
			out = append(out, "\"\\\n\r\t\b\v\f"[place])
			at++
		} else if code, err := strconv.ParseUint(text[min(at+2, len(text)):min(at+4, len(text))], 16, 8); err == nil && text[at+1]|32 == 'x' {
			out = append(out, byte(code))
			at += 3
		} else {
			out = append(out, '\\')
		}
	}
	return string(out)
}

// A cache: lines of one day share the most of their time.
type days struct {
	day, zone string
	began     int64
}

func (d *days) nanoseconds(text string) (int64, error) {
	wrong := errors.New("`" + text + "` is not a time: it is written like `17/May/2015:10:05:03 +0000`")
	if len(text) != 26 {
		return 0, wrong
	}
	if text[:12] != d.day || text[20:] != d.zone {
		began, err := time.Parse("02/Jan/2006:15:04:05 -0700", text[:12]+"00:00:00"+text[20:])
		if err != nil {
			return 0, wrong
		}
		d.day, d.zone, d.began = strings.Clone(text[:12]), strings.Clone(text[20:]), began.Unix()
	}
	of := func(at int) int64 { return int64(text[at]-'0')*10 + int64(text[at+1]-'0') }
	hour, minute, second := of(12), of(15), of(18)
	if text[14] != ':' || text[17] != ':' || hour > 23 || minute > 59 || second > 60 {
		return 0, wrong
	}
	return (d.began + hour*3600 + minute*60 + second) * 1e9, nil
}
