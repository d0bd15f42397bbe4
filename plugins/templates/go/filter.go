// Drops events whose level is below the least wanted.
//
//	level ─► keep or drop
//
// A plugin is handed a batch of rows as columns and answers for each row. It sees nothing else: no files, no network, no clock.
package main

import (
	"fmt"
	"slices"
	"strings"

	"tidemill"
	"tidemill/filter"
)

// From the least to the most important.
var levels = []string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"}

// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
type settings struct {
	Least string `json:"least"` // the least level that is kept
}

func init() {
	filter.Export(tidemill.Info{Name: "{{name}}", Version: "0.1.0", About: "Drops events below a level"}, configure)
}

func main() {}

// Checks the settings, and says what is read. Only columns named in Reads are handed over.
func configure(s settings) (tidemill.Contract, tidemill.Call, error) {
	least := rank(s.Least)
	if least < 0 {
		return tidemill.Contract{}, nil, fmt.Errorf("`least` is `%s`; write one of %s", s.Least, strings.Join(levels, ", "))
	}
	keep := func(input *tidemill.Batch, _ tidemill.Context, output *tidemill.Output) error {
		for row, level := range input.Texts("level").All() {
			// An event without a level, or with another word as its level, is kept: dropping is for what is known.
			if known := rank(level); known >= 0 && known < least {
				output.Drop(row)
			}
		}
		return nil
	}
	return tidemill.Contract{Reads: []string{"level"}}, keep, nil
}

func rank(level string) int { return slices.Index(levels, strings.ToUpper(level)) }
