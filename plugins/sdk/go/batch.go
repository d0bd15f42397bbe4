package tidemill

import (
	"fmt"
	"iter"
	"unsafe"
)

// Batch is columns of equal length. A column that no event has is absent, and reads as null in every row.
type Batch struct {
	Rows    int
	columns []wireColumn
}

// Names of the columns there are.
func (b *Batch) Names() []string {
	names := make([]string, len(b.columns))
	for at := range b.columns {
		names[at] = b.columns[at].name.text()
	}
	return names
}

// Type of a column; false where no event has it.
func (b *Batch) Type(name string) (Type, bool) {
	column := b.find(name)
	if column == nil {
		return 0, false
	}
	return column.kind(), true
}

func (b *Batch) find(name string) *wireColumn {
	for at := range b.columns {
		if b.columns[at].name.text() == name {
			return &b.columns[at]
		}
	}
	return nil
}

// Values are a column of numbers or booleans.
type Values[T any] struct {
	values   []T
	validity []byte
	rows     int
}

// Get is a row's value; false where it is null.
func (v *Values[T]) Get(row int) (T, bool) {
	if v.values == nil || v.validity != nil && v.validity[row] == 0 {
		var zero T
		return zero, false
	}
	return v.values[row], true
}

// Ints is a column of whole numbers. Another type in it fails the call.
func (b *Batch) Ints(name string) Values[int64] { return numbers[int64](b, name, Int64) }

// Timestamps is a column of nanoseconds since 1970.
func (b *Batch) Timestamps(name string) Values[int64] { return numbers[int64](b, name, Timestamp) }

// Booleans is a column of true and false.
func (b *Batch) Booleans(name string) Values[bool] { return numbers[bool](b, name, Boolean) }

// Floats is a column of numbers; whole ones are taken, too.
func (b *Batch) Floats(name string) Values[float64] {
	if column := b.find(name); column != nil && column.kind() == Int64 {
		ints := numbers[int64](b, name, Int64)
		floats := make([]float64, len(ints.values))
		for at, value := range ints.values {
			floats[at] = float64(value)
		}
		return Values[float64]{floats, ints.validity, b.Rows}
	}
	return numbers[float64](b, name, Float64)
}

func numbers[T any](b *Batch, name string, kind Type) Values[T] {
	column := b.find(name)
	if column == nil {
		return Values[T]{rows: b.Rows}
	}
	if column.kind() != kind {
		panic(mistake(fmt.Sprintf("column `%s` is %s, not %s", name, column.kind(), kind)))
	}
	return Values[T]{slice[T](column.lists[0]), column.valid(), b.Rows}
}

// Texts are a column of text or bytes.
type Texts struct {
	name     string
	offsets  []uint32
	indices  []uint32
	data     []byte
	validity []byte
	rows     int
}

// Texts is a column of text or bytes. Another type in it fails the call.
func (b *Batch) Texts(name string) *Texts {
	column := b.find(name)
	if column == nil {
		return &Texts{name: name, rows: b.Rows}
	}
	texts := &Texts{name: name, validity: column.valid(), rows: b.Rows}
	switch column.tag {
	case 4, 5:
		texts.offsets, texts.data = slice[uint32](column.lists[0]), slice[byte](column.lists[1])
	case 6:
		texts.indices = slice[uint32](column.lists[0])
		texts.offsets, texts.data = slice[uint32](column.lists[1]), slice[byte](column.lists[2])
	default:
		panic(mistake(fmt.Sprintf("column `%s` is %s, not utf8", name, column.kind())))
	}
	return texts
}

// Bytes of a row; nil where it is null. They are not to be changed.
func (t *Texts) Bytes(row int) []byte {
	if t.offsets == nil || t.validity != nil && t.validity[row] == 0 {
		return nil
	}
	if t.indices != nil {
		row = int(t.indices[row])
	}
	start, end := t.offsets[row], t.offsets[row+1]
	if start == end {
		return none
	}
	return t.data[start:end:end]
}

var none = make([]byte, 0, 1)

// Get is a row's text; false where it is null.
func (t *Texts) Get(row int) (string, bool) {
	value := t.Bytes(row)
	return unsafe.String(unsafe.SliceData(value), len(value)), value != nil
}

// All rows in order, each with its text: empty where it is null.
func (t *Texts) All() iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		for row := range t.rows {
			if value, _ := t.Get(row); !yield(row, value) {
				return
			}
		}
	}
}
