;; A parser by hand, for what no compiler would make. It reads `body` and hands every row on as it came; a test fills in what it does
;; besides: at the top, when it starts, when it is configured, when it is called.
(module
  ;; TOP
  (memory (export "memory") 4)
  (global $free (mut i32) (i32.const 65536))
  ;; Room that is never given back: it starts over with each call.
  (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -16)))
    (block $enough
      (br_if $enough (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
      (drop (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get $size) (i32.const 65536))))))
    (local.get $at))
  ;; STARTS
  (func (export "tidemill:plugin/plugin@0.1.0#describe") (result i32) (i32.const 1024))
  ;; The word `body` at 512, and the list of it at 520.
  (data (i32.const 512) "body")
  (data (i32.const 520) "\00\02\00\00\04\00\00\00")
  (func (export "tidemill:plugin/plugin@0.1.0#configure") (param i32 i32) (result i32)
    ;; CONFIGURED
    (i32.store (i32.const 2052) (i32.const 520))
    (i32.store (i32.const 2056) (i32.const 1))
    (i32.const 2048))
  (func (export "tidemill:plugin/parsing@0.1.0#parse")
    (param $rows i32) (param $columns i32) (param i32) (param i32 i64) (param i32 i32 i32) (result i32)
    (local $n i32)
    (global.set $free (i32.const 65536))
    (i32.store (i32.const 4100) (local.get $rows))
    ;; CALLED
    (i32.const 4096))
)
