package tidemill

import (
	"fmt"
	"unicode/utf8"
	"unsafe"
)

// Output is what a call makes.
type Output struct {
	rows    int
	columns []build
	errors  []rowError
	origin  []uint32
	state   []byte
	keep    []byte
	moved   bool
	stated  bool
}

type rowError struct {
	row     uint32
	message string
}

type build interface{ lower(column area) }

// Error refuses a row: it becomes a dead letter with this reason, the others go on.
func (o *Output) Error(row int, format string, arguments ...any) {
	o.errors = append(o.errors, rowError{uint32(row), fmt.Sprintf(format, arguments...)})
}

// Drop is a filter's: the row does not go on.
func (o *Output) Drop(row int) { o.keep[row] = 0 }

// Origin is a parser's: for each row that comes out the row it came from, where they are more or fewer than came in.
func (o *Output) Origin(rows []uint32) { o.origin, o.moved = rows, true }

// State is what the next call gets as Context.State.
func (o *Output) State(state []byte) { o.state, o.stated = state, true }

// Nulls of a column that is being written: nil as long as there are none.
type nulls struct {
	name     string
	validity []byte
}

func (n *nulls) push(rows int, isValue bool) {
	if n.validity == nil {
		if isValue {
			return
		}
		n.validity = make([]byte, rows, rows*2+16)
		for at := range n.validity {
			n.validity[at] = 1
		}
	}
	valid := byte(0)
	if isValue {
		valid = 1
	}
	n.validity = append(n.validity, valid)
}

// Writer is a column that is being written: a value or a null for each row that comes out, in order.
type Writer[T any] struct {
	nulls
	kind   Type
	values []T
}

// Push the next row's value.
func (w *Writer[T]) Push(value T) {
	w.push(len(w.values), true)
	w.values = append(w.values, value)
}

// PushNull says that the next row has none.
func (w *Writer[T]) PushNull() {
	var zero T
	w.push(len(w.values), false)
	w.values = append(w.values, zero)
}

// PushIf pushes the value, or a null: for what answers (value, ok).
func (w *Writer[T]) PushIf(value T, ok bool) {
	if ok {
		w.Push(value)
	} else {
		w.PushNull()
	}
}

func write[T any](o *Output, name string, kind Type) *Writer[T] {
	w := &Writer[T]{nulls{name: name}, kind, make([]T, 0, o.rows)}
	o.columns = append(o.columns, w)
	return w
}

// Ints begins a column of whole numbers.
func (o *Output) Ints(name string) *Writer[int64] { return write[int64](o, name, Int64) }

// Timestamps begins a column of nanoseconds since 1970.
func (o *Output) Timestamps(name string) *Writer[int64] { return write[int64](o, name, Timestamp) }

// Floats begins a column of numbers.
func (o *Output) Floats(name string) *Writer[float64] { return write[float64](o, name, Float64) }

// Booleans begins a column of true and false.
func (o *Output) Booleans(name string) *Writer[bool] { return write[bool](o, name, Boolean) }

// TextWriter is a column of text or bytes that is being written.
type TextWriter struct {
	nulls
	kind    Type
	offsets []uint32
	data    []byte
}

// Texts begins a column of text.
func (o *Output) Texts(name string) *TextWriter { return o.texts(name, Utf8) }

// Binaries begins a column of bytes.
func (o *Output) Binaries(name string) *TextWriter { return o.texts(name, Binary) }

func (o *Output) texts(name string, kind Type) *TextWriter {
	w := &TextWriter{nulls{name: name}, kind, make([]uint32, 1, o.rows+1), nil}
	o.columns = append(o.columns, w)
	return w
}

// Push the next row's text.
func (w *TextWriter) Push(text string) {
	w.push(len(w.offsets)-1, true)
	if w.kind == Utf8 {
		text = repaired(text)
	}
	w.data = append(w.data, text...)
	w.offsets = append(w.offsets, uint32(len(w.data)))
}

// Bytes that are not UTF-8 become U+FFFD.
func repaired(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return string([]rune(text))
}

// PushNull says that the next row has none.
func (w *TextWriter) PushNull() {
	w.push(len(w.offsets)-1, false)
	w.offsets = append(w.offsets, uint32(len(w.data)))
}

// PushIf pushes the text, or a null.
func (w *TextWriter) PushIf(text string, ok bool) {
	if ok {
		w.Push(text)
	} else {
		w.PushNull()
	}
}

// WordWriter is a column of text with few distinct values: a method, a level, a host.
type WordWriter struct {
	nulls
	indices []uint32
	known   map[string]uint32
	words   TextWriter
}

// Words begins a column of text with few distinct values.
func (o *Output) Words(name string) *WordWriter {
	w := &WordWriter{nulls{name: name}, make([]uint32, 0, o.rows), map[string]uint32{}, TextWriter{kind: Utf8, offsets: make([]uint32, 1)}}
	o.columns = append(o.columns, w)
	return w
}

// Push the next row's word.
func (w *WordWriter) Push(word string) {
	w.push(len(w.indices), true)
	w.indices = append(w.indices, w.index(word))
}

func (w *WordWriter) index(word string) uint32 {
	index, found := w.known[word]
	if !found {
		index = uint32(len(w.known))
		w.known[word] = index
		w.words.Push(word)
	}
	return index
}

// PushNull says that the next row has none.
func (w *WordWriter) PushNull() {
	w.push(len(w.indices), false)
	w.indices = append(w.indices, w.index(""))
}

// PushIf pushes the word, or a null.
func (w *WordWriter) PushIf(word string, ok bool) {
	if ok {
		w.Push(word)
	} else {
		w.PushNull()
	}
}

// SliceWriter is a column of text cut out of another: only where it stands goes out, the host cuts. Quickest for a parser.
type SliceWriter struct {
	nulls
	of    *Texts
	spans []uint32
	extra []byte
}

// Slices begins a column of text that is cut out of a column that was read. Other text is taken as well.
func (o *Output) Slices(name string, of *Texts) *SliceWriter {
	w := &SliceWriter{nulls{name: name}, of, make([]uint32, 0, 2*o.rows), nil}
	o.columns = append(o.columns, w)
	return w
}

// Push the next row's text.
func (w *SliceWriter) Push(text string) {
	w.push(len(w.spans)/2, true)
	if len(text) == 0 {
		w.spans = append(w.spans, 0, 0)
		return
	}
	start := uintptr(unsafe.Pointer(unsafe.StringData(text))) - uintptr(unsafe.Pointer(unsafe.SliceData(w.of.data)))
	if size := uintptr(len(w.of.data)); start > size || uintptr(len(text)) > size-start {
		start = size + uintptr(len(w.extra))
		w.extra = append(w.extra, text...)
	}
	w.spans = append(w.spans, uint32(start), uint32(len(text)))
}

// PushNull says that the next row has none.
func (w *SliceWriter) PushNull() {
	w.push(len(w.spans)/2, false)
	w.spans = append(w.spans, 0, 0)
}

// PushIf pushes the text, or a null.
func (w *SliceWriter) PushIf(text string, ok bool) {
	if ok {
		w.Push(text)
	} else {
		w.PushNull()
	}
}
