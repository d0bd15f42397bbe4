// Package tidemill is what plugins in Go are made with: columns in, columns out.
//
//	parser.Export(info, configure)     or filter.Export, enricher.Export, autoscaler.Export: in the plugin's init
//
// configure checks the settings, and answers what the plugin reads and makes, and the function that is called for each batch.
//
// Always: a panic fails the call with its message and line, and the instance goes on. Text that was read stays valid.
// Never: a plugin sees files, sockets or the time: time.Now counts its readings. What it remembers goes through Output.State.
package tidemill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
)

// Info is who the plugin is.
type Info struct{ Name, Version, About string }

// Type is a column's type. Timestamps are nanoseconds since 1970, UTC; Binary is bytes, Utf8 is text.
type Type uint8

// The types.
const (
	Boolean Type = iota
	Int64
	Float64
	Timestamp
	Utf8
	Binary
)

func (t Type) String() string {
	return [...]string{"boolean", "int64", "float64", "timestamp", "utf8", "binary"}[t]
}

// Field is a column that a plugin makes or replaces.
type Field struct {
	Name string
	Type Type
}

// Contract is what a configured plugin reads and makes.
type Contract struct {
	Reads      []string // columns to hand over: `labels.job` is one label of a metric, `labels.*` every label, `*` every column
	Writes     []Field
	OpenSchema bool // columns beyond Writes may appear, named by the events
	KeepsState bool // Context.State is what the call before handed to Output.State
	Metrics    bool // what comes out of this parser is metrics, not logs
}

// Context is what a call gets beside its rows.
type Context struct {
	Now   *int64 // nanoseconds since 1970, where the pipeline grants the clock (clock = true)
	State []byte // nil at first
}

// Call handles a batch: it reads columns, writes columns, refuses or drops rows. An error fails the whole batch.
type Call func(input *Batch, context Context, output *Output) error

// Decide answers a tick of an autoscaler.
type Decide func(request *Request) (Proposal, error)

var plugin struct {
	info      Info
	configure func(settings []byte) (Contract, error)
	call      Call
	decide    Decide
}

// Export is called by the packages of the worlds.
func Export[S any](info Info, configure func(S) (Contract, Call, Decide, error)) {
	plugin.info = info
	plugin.configure = func(text []byte) (Contract, error) {
		var settings S
		if err := read(text, &settings); err != nil {
			return Contract{}, err
		}
		contract, call, decide, err := configure(settings)
		plugin.call, plugin.decide = call, decide
		return contract, err
	}
}

// Reads settings; keys that the struct does not have are refused by name.
func read(text []byte, settings any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(settings)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("`%s` is a %s; write a %s", wrong.Field, wrong.Value, wrong.Type)
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return fmt.Errorf("unknown field `%s`, %s", strings.Trim(name, `"`), expected(settings))
	}
	return err
}

func expected(settings any) string {
	var names []string
	if of := reflect.TypeOf(settings).Elem(); of.Kind() == reflect.Struct {
		for at := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(at).Tag.Get("json"), ",")
			if name == "" {
				name = of.Field(at).Name
			}
			names = append(names, "`"+name+"`")
		}
	}
	switch len(names) {
	case 0:
		return "there are no settings"
	case 1:
		return "expected " + names[0]
	}
	return "expected one of " + strings.Join(names, ", ")
}

// A mistake that fails the whole call, thrown by functions that have no error to return.
type mistake string

// Runs a call; a panic is an error with the line of the plugin where it happened.
func guarded(call func() error) (err error) {
	defer func() {
		switch thrown := recover().(type) {
		case nil:
		case mistake:
			err = errors.New(string(thrown))
		default:
			err = fmt.Errorf("panic: %v%s", thrown, place())
		}
	}()
	return call()
}

func place() string {
	var callers [32]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") && !strings.HasPrefix(frame.Function, "tidemill.") {
			return fmt.Sprintf(" (%s:%d)", filepath.Base(frame.File), frame.Line)
		}
		if !more {
			return ""
		}
	}
}
