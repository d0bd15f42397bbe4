// Lines such as `2026-01-31T12:00:00Z WARN checkout took 812 ms` as columns.
//
//	body ─► timestamp · level · message
//
// A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.
package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tidemill"
	"tidemill/parser"
)

// What stands after a line's time, if the line names its level.
var levels = []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}

// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
type settings struct {
	DefaultLevel string `json:"default_level"`
}

func init() {
	info := tidemill.Info{Name: "{{name}}", Version: "0.1.0", About: "Lines with a time, a level and a message"}
	parser.Export(info, configure)
}

func main() {}

// Checks the settings, and says what is read and what is written. Only columns named in Reads are handed over.
func configure(s settings) (tidemill.Contract, tidemill.Call, error) {
	if s.DefaultLevel != "" && !slices.Contains(levels, s.DefaultLevel) {
		return tidemill.Contract{}, nil, fmt.Errorf("`default_level` is `%s`; write one of %s", s.DefaultLevel, strings.Join(levels, ", "))
	}
	return tidemill.Contract{
		Reads:  []string{"body"},
		Writes: []tidemill.Field{{"timestamp", tidemill.Timestamp}, {"level", tidemill.Utf8}, {"message", tidemill.Utf8}},
	}, s.parse, nil
}

func (s settings) parse(input *tidemill.Batch, _ tidemill.Context, output *tidemill.Output) error {
	bodies := input.Texts("body")
	timestamps := output.Timestamps("timestamp")
	found := output.Words("level")                // text with few distinct values
	messages := output.Slices("message", bodies) // text cut out of the body
	for row, body := range bodies.All() {
		stamp, message, _ := strings.Cut(body, " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			// The row goes to `tidemill.dead_letters` with this reason; the others go on.
			output.Error(row, "a time, a space and a message should stand here")
			continue
		}
		level, rest, _ := strings.Cut(message, " ")
		if slices.Contains(levels, level) {
			message = rest
		} else {
			level = s.DefaultLevel
		}
		timestamps.Push(at.UnixNano())
		found.PushIf(level, level != "")
		messages.Push(message)
	}
	return nil
}
