;; A parser that does nothing: what it is handed is copied into its memory, and it answers with an error without words.
(module
  (memory (export "memory") 2)
  ;; where the next block of what is handed over goes; the answers stand below
  (global $next (mut i32) (i32.const 1024))

  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (loop $grow
        (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
        unreachable))
    (local.get $at))

  ;; three empty texts
  (func (export "tidemill:plugin/plugin@0.1.0#describe") (result i32) (i32.const 64))

  ;; ok, with a contract of nothing
  (func (export "tidemill:plugin/plugin@0.1.0#configure") (param i32 i32) (result i32)
    (global.set $next (i32.const 1024))
    (i32.const 64))

  ;; rows, columns, context: error, with an empty text
  (func (export "tidemill:plugin/parsing@0.1.0#parse") (param i32 i32 i32 i32 i64 i32 i32 i32) (result i32)
    (global.set $next (i32.const 1024))
    (i32.const 128))

  (data (i32.const 128) "\01"))
