// The class of an HTTP status beside it: 404 is `4xx`.
//
//	status ─► status_class
//
// A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.
package main

import (
	"errors"
	"fmt"

	"tidemill"
	"tidemill/enricher"
)

// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
type settings struct {
	Field *string `json:"field"` // the column with the status; `status` if not given
}

func init() {
	enricher.Export(tidemill.Info{Name: "{{name}}", Version: "0.1.0", About: "The class of an HTTP status"}, configure)
}

func main() {}

// Checks the settings, and says what is read and what is written. Only columns named in Reads are handed over.
func configure(s settings) (tidemill.Contract, tidemill.Call, error) {
	field := "status"
	if s.Field != nil {
		field = *s.Field
	}
	if field == "" {
		return tidemill.Contract{}, nil, errors.New("`field` is empty; name the column with the status")
	}
	enrich := func(input *tidemill.Batch, _ tidemill.Context, output *tidemill.Output) error {
		classes := output.Words("status_class") // text with few distinct values
		statuses := input.Ints(field)
		// A column that is made is as long as the input: a value or a null for each row.
		for row := range input.Rows {
			status, ok := statuses.Get(row)
			if ok && (status < 100 || status > 599) {
				// The row goes to `tidemill.dead_letters` with this reason; the others go on.
				output.Error(row, "`%s` is %d, which is no HTTP status", field, status)
			}
			classes.PushIf(fmt.Sprintf("%dxx", status/100), ok)
		}
		return nil
	}
	return tidemill.Contract{Reads: []string{field}, Writes: []tidemill.Field{{"status_class", tidemill.Utf8}}}, enrich, nil
}
