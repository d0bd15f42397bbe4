package tidemill

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// What crosses the boundary, byte for byte as the canonical ABI of WebAssembly components lays it out. Addresses are 32 bits wide.

// A list or a text.
type list struct{ at, size uint32 }

func (l list) text() string {
	return unsafe.String((*byte)(pointer(l.at)), l.size)
}

type wireColumn struct {
	name     list
	tag      uint8 // a Type; 6 is text by index, 7 is text by place
	lists    [3]list
	hasValid uint8
	validity list
}

func (c *wireColumn) kind() Type {
	if c.tag > uint8(Binary) {
		return Utf8
	}
	return Type(c.tag)
}

func (c *wireColumn) valid() []byte {
	if c.hasValid == 0 {
		return nil
	}
	return slice[byte](c.validity)
}

type wireBatch struct {
	rows    uint32
	columns list
}

func (b wireBatch) batch() *Batch { return &Batch{int(b.rows), slice[wireColumn](b.columns)} }

//go:nocheckptr
func pointer(at uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(at)) }

// What was handed to us stands in our memory as a slice of it would.
func slice[T any](l list) []T {
	if l.size == 0 {
		return make([]T, 0)
	}
	return unsafe.Slice((*T)(pointer(l.at)), l.size)
}

// Memory that the other side has the address of; alive until the call has ended.
var held []unsafe.Pointer

func hold(at unsafe.Pointer) unsafe.Pointer {
	held = append(held, at)
	return at
}

func alloc(size uint32) unsafe.Pointer { return hold(unsafe.Pointer(&make([]uint64, size/8+1)[0])) }

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	at := alloc(size)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(at), size), unsafe.Slice((*byte)(old), oldSize))
	}
	return at
}

// Done lets go of what a call handed over. The packages of the worlds call it.
func Done() { held = held[:0] }

// A record that is being written.
type area []byte

func newArea(size uint32) area { return unsafe.Slice((*byte)(alloc(size)), size) }

func (a area) at() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(a)) }

func (a area) u32(offset int, value uint32) { binary.LittleEndian.PutUint32(a[offset:], value) }

func (a area) boolean(offset int, value bool) {
	if value {
		a[offset] = 1
	}
}

func (a area) text(offset int, text string) {
	put(a, offset, unsafe.Slice(unsafe.StringData(text), len(text)))
}

// A slice of Go is laid out as a list is.
func put[T any](a area, offset int, values []T) {
	at := uint32(8) // any address that is aligned, where there is nothing to read
	if len(values) > 0 {
		at = uint32(uintptr(hold(unsafe.Pointer(unsafe.SliceData(values)))))
	}
	a.u32(offset, at)
	a.u32(offset+4, uint32(len(values)))
}

// A list of records of a size, each written by a function.
func (a area) records(offset, count int, size uint32, write func(at int, record area)) {
	records := newArea(uint32(count) * size)
	for at := range count {
		write(at, records[at*int(size):(at+1)*int(size)])
	}
	a.u32(offset, uint32(uintptr(records.at())))
	a.u32(offset+4, uint32(count))
}

const columnSize, errorSize, fieldSize, textSize = 48, 12, 12, 8

func (n *nulls) lower(column area, tag uint8) {
	column.text(0, n.name)
	column[8] = tag
	if n.validity != nil {
		column[36] = 1
		put(column, 40, n.validity)
	}
}

func (w *Writer[T]) lower(column area) {
	w.nulls.lower(column, uint8(w.kind))
	put(column, 12, w.values)
}

func (w *TextWriter) lower(column area) {
	w.nulls.lower(column, uint8(w.kind))
	put(column, 12, w.offsets)
	put(column, 20, w.data)
}

func (w *WordWriter) lower(column area) {
	w.nulls.lower(column, 6)
	put(column, 12, w.indices)
	put(column, 20, w.words.offsets)
	put(column, 28, w.words.data)
}

func (w *SliceWriter) lower(column area) {
	w.nulls.lower(column, 7)
	column.text(12, w.of.name)
	put(column, 20, w.spans)
	put(column, 28, w.extra)
}

func (o *Output) lowerColumns(a area, offset int) {
	a.records(offset, len(o.columns), columnSize, func(at int, column area) { o.columns[at].lower(column) })
}

func (o *Output) lowerErrors(a area, offset int) {
	a.records(offset, len(o.errors), errorSize, func(at int, record area) {
		record.u32(0, o.errors[at].row)
		record.text(4, o.errors[at].message)
	})
}

func (o *Output) lowerState(a area, offset int) {
	a.boolean(offset, o.stated)
	put(a, offset+4, o.state)
}

// Runs a call and lays out its answer, or its error.
func answer(size uint32, call func(a area) error) unsafe.Pointer {
	a := newArea(size)
	if err := guarded(func() error { return call(a) }); err != nil {
		clear(a)
		a[0] = 1
		a.text(4, err.Error())
	}
	return a.at()
}

// Input is a batch and its context as they cross.
type Input struct {
	Rows, Columns, Count, HasNow uint32
	Now                          int64
	HasState, State, StateSize   uint32
}

func (i Input) run() (*Output, error) {
	context := Context{}
	if i.HasNow != 0 {
		context.Now = &i.Now
	}
	if i.HasState != 0 {
		context.State = slice[byte](list{i.State, i.StateSize})
	}
	keep := make([]byte, i.Rows)
	for at := range keep {
		keep[at] = 1
	}
	output := &Output{rows: int(i.Rows), keep: keep}
	return output, plugin.call(wireBatch{i.Rows, list{i.Columns, i.Count}}.batch(), context, output)
}

// Parse answers a parser's call.
func Parse(input Input) unsafe.Pointer {
	return answer(48, func(a area) error {
		output, err := input.run()
		if err != nil {
			return err
		}
		rows := int(input.Rows)
		if output.moved {
			rows = len(output.origin)
		} else {
			refused := make(map[uint32]bool)
			for _, one := range output.errors {
				refused[one.row] = true
			}
			rows -= len(refused)
		}
		a.u32(4, uint32(rows))
		output.lowerColumns(a, 8)
		a.boolean(16, output.moved)
		put(a, 20, output.origin)
		output.lowerErrors(a, 28)
		output.lowerState(a, 36)
		return nil
	})
}

// Keep answers a filter's call.
func Keep(input Input) unsafe.Pointer {
	return answer(32, func(a area) error {
		output, err := input.run()
		if err != nil {
			return err
		}
		put(a, 4, output.keep)
		output.lowerErrors(a, 12)
		output.lowerState(a, 20)
		return nil
	})
}

// Enrich answers an enricher's call.
func Enrich(input Input) unsafe.Pointer {
	return answer(32, func(a area) error {
		output, err := input.run()
		if err != nil {
			return err
		}
		output.lowerColumns(a, 4)
		output.lowerErrors(a, 12)
		output.lowerState(a, 20)
		return nil
	})
}

//go:wasmexport tidemill:plugin/plugin@0.1.0#describe
func describe() unsafe.Pointer {
	a := newArea(24)
	a.text(0, plugin.info.Name)
	a.text(8, plugin.info.Version)
	a.text(16, plugin.info.About)
	return a.at()
}

//go:wasmexport cabi_post_tidemill:plugin/plugin@0.1.0#describe
func describeDone(unsafe.Pointer) { Done() }

//go:wasmexport tidemill:plugin/plugin@0.1.0#configure
func configure(at, size uint32) unsafe.Pointer {
	return answer(24, func(a area) error {
		contract, err := plugin.configure(slice[byte](list{at, size}))
		if err != nil {
			return err
		}
		a.records(4, len(contract.Reads), textSize, func(at int, record area) { record.text(0, contract.Reads[at]) })
		a.records(12, len(contract.Writes), fieldSize, func(at int, record area) {
			record.text(0, contract.Writes[at].Name)
			record[8] = uint8(contract.Writes[at].Type)
		})
		a.boolean(20, contract.OpenSchema)
		a.boolean(21, contract.KeepsState)
		a.boolean(22, contract.Metrics)
		return nil
	})
}

//go:wasmexport cabi_post_tidemill:plugin/plugin@0.1.0#configure
func configureDone(unsafe.Pointer) { Done() }

// RequestAt reads a tick's request where it stands in memory.
func requestAt(at uint32) *Request {
	r := area(unsafe.Slice((*byte)(pointer(at)), 72))
	request := &Request{
		Now:      r.i64(0),
		Workload: Workload{r.list(8).text(), r.get(16), r.get(20), r.get(24), r.get(28), nil},
		Signals:  map[string]*Signal{},
		State:    slice[byte](r.list(64)),
	}
	for _, m := range records(r.list(32), 32) {
		request.Workload.Members = append(request.Workload.Members, Member{m.list(0).text(), m[8] != 0, m.i64(16), m.i64(24)})
	}
	for _, s := range records(r.list(40), 48) {
		signal := &Signal{
			Name: s.list(0).text(), Freshness: Freshness(s[8]), Table: wireBatch{s.get(12), s.list(16)}.batch(), Message: s.list(24).text(),
		}
		if s[32] != 0 {
			caughtUpAt := s.i64(40)
			signal.CaughtUpAt = &caughtUpAt
		}
		request.Signals[signal.Name] = signal
	}
	for _, d := range records(r.list(48), 32) {
		request.Decisions = append(request.Decisions, Decision{d.i64(0), d.get(8), d.option(12), d.get(20), d.list(24).text()})
	}
	for _, d := range records(r.list(56), 24) {
		request.Advice = append(request.Advice, Advice{d.list(0).text(), d.option(8), d.list(16).text()})
	}
	return request
}

func records(l list, size uint32) []area {
	all := make([]area, l.size)
	for at := range all {
		all[at] = unsafe.Slice((*byte)(pointer(l.at+uint32(at)*size)), size)
	}
	return all
}

func (a area) get(offset int) uint32 { return binary.LittleEndian.Uint32(a[offset:]) }
func (a area) i64(offset int) int64  { return int64(binary.LittleEndian.Uint64(a[offset:])) }
func (a area) list(offset int) list  { return list{a.get(offset), a.get(offset + 4)} }

func (a area) option(offset int) *uint32 {
	if a[offset] == 0 {
		return nil
	}
	value := a.get(offset + 4)
	return &value
}

// DecideAt answers an autoscaler's call.
func DecideAt(at uint32) unsafe.Pointer {
	return answer(24, func(a area) error {
		proposal, err := plugin.decide(requestAt(at))
		if err != nil {
			return err
		}
		a.u32(4, uint32(min(max(proposal.Replicas, 0), math.MaxUint32)))
		a.text(8, proposal.Reason)
		put(a, 16, proposal.State)
		return nil
	})
}
