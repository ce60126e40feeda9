;; What the fine-tune of the page spends its time on, in fp32 with the vector instructions of
;; WebAssembly: matmuls and exponentials for `unfrozen.lab.operations`, AdamW for
;; `unfrozen.lab.optimizer`. All compute in numpy's own order: the same numbers.
;;
;; C = A · B. Eight columns of B at a time are copied into a panel, row after row, so that they are read in
;; one line whatever B's strides; four rows of A at a time run along it, their 32 sums in registers.
;; Each entry is added up in the order of k, as numpy does it without BLAS.
;;
;; `multiply(call)` reads 20 ints at address `call`: A's address and four strides in bytes (outer and
;; inner of the batch, row, column), B's, C's address and three (its columns lie side by side), the
;; batch's outer and inner size, m, n, k, and the address of the panel: 8·k + 32 floats.
;;
;; `adamw(call)` moves n weights, a multiple of four. It reads six ints: the addresses of weights,
;; gradients and both moments, n, and the address of eight floats: β₁, 1 − β₁, β₂, 1 − β₂, √(1 − β₂ᵗ),
;; ε, 1 − η·decay, and the step size η/(1 − β₁ᵗ).
;;
;; `exp(call)` puts e^x in the place of n numbers x up to 88, as the C library does that Pyodide's numpy
;; calls (musl's expf, after ARM's optimized routines): with k the integer nearest to x·32/ln 2, it is
;; 2^(k/32), of which a table has the 32 fractions, times a polynomial of the rest. It reads three ints:
;; the address of the numbers, n, and that of the table: 32 doubles 2^(i/32), less i·2^47 as integers.
(module
  (import "env" "memory" (memory 1))

  ;; Two vectors, eight columns, of one row of C.
  (func $store (param $c i32) (param $low v128) (param $high v128)
    (v128.store (local.get $c) (local.get $low))
    (v128.store offset=16 (local.get $c) (local.get $high)))

  ;; Four rows of A times the panel: 4 × 8 entries of C.
  (func $four (param $a i32) (param $row i32) (param $column i32) (param $panel i32) (param $k i32)
      (param $c i32) (param $line i32)
    (local $a1 i32) (local $a2 i32) (local $a3 i32)
    (local $low v128) (local $high v128) (local $x v128)
    (local $c00 v128) (local $c01 v128) (local $c10 v128) (local $c11 v128)
    (local $c20 v128) (local $c21 v128) (local $c30 v128) (local $c31 v128)
    (local.set $a1 (i32.add (local.get $a) (local.get $row)))
    (local.set $a2 (i32.add (local.get $a1) (local.get $row)))
    (local.set $a3 (i32.add (local.get $a2) (local.get $row)))
    (loop $next
      (local.set $low (v128.load (local.get $panel)))
      (local.set $high (v128.load offset=16 (local.get $panel)))
      (local.set $x (v128.load32_splat (local.get $a)))
      (local.set $c00 (f32x4.add (local.get $c00) (f32x4.mul (local.get $x) (local.get $low))))
      (local.set $c01 (f32x4.add (local.get $c01) (f32x4.mul (local.get $x) (local.get $high))))
      (local.set $x (v128.load32_splat (local.get $a1)))
      (local.set $c10 (f32x4.add (local.get $c10) (f32x4.mul (local.get $x) (local.get $low))))
      (local.set $c11 (f32x4.add (local.get $c11) (f32x4.mul (local.get $x) (local.get $high))))
      (local.set $x (v128.load32_splat (local.get $a2)))
      (local.set $c20 (f32x4.add (local.get $c20) (f32x4.mul (local.get $x) (local.get $low))))
      (local.set $c21 (f32x4.add (local.get $c21) (f32x4.mul (local.get $x) (local.get $high))))
      (local.set $x (v128.load32_splat (local.get $a3)))
      (local.set $c30 (f32x4.add (local.get $c30) (f32x4.mul (local.get $x) (local.get $low))))
      (local.set $c31 (f32x4.add (local.get $c31) (f32x4.mul (local.get $x) (local.get $high))))
      (local.set $a (i32.add (local.get $a) (local.get $column)))
      (local.set $a1 (i32.add (local.get $a1) (local.get $column)))
      (local.set $a2 (i32.add (local.get $a2) (local.get $column)))
      (local.set $a3 (i32.add (local.get $a3) (local.get $column)))
      (local.set $panel (i32.add (local.get $panel) (i32.const 32)))
      (br_if $next (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
    (call $store (local.get $c) (local.get $c00) (local.get $c01))
    (local.set $c (i32.add (local.get $c) (local.get $line)))
    (call $store (local.get $c) (local.get $c10) (local.get $c11))
    (local.set $c (i32.add (local.get $c) (local.get $line)))
    (call $store (local.get $c) (local.get $c20) (local.get $c21))
    (local.set $c (i32.add (local.get $c) (local.get $line)))
    (call $store (local.get $c) (local.get $c30) (local.get $c31)))

  ;; One row of A times the panel: 8 entries of C.
  (func $one (param $a i32) (param $column i32) (param $panel i32) (param $k i32) (param $c i32)
    (local $x v128) (local $low v128) (local $high v128)
    (loop $next
      (local.set $x (v128.load32_splat (local.get $a)))
      (local.set $low (f32x4.add (local.get $low) (f32x4.mul (local.get $x) (v128.load (local.get $panel)))))
      (local.set $high (f32x4.add (local.get $high) (f32x4.mul (local.get $x) (v128.load offset=16 (local.get $panel)))))
      (local.set $a (i32.add (local.get $a) (local.get $column)))
      (local.set $panel (i32.add (local.get $panel) (i32.const 32)))
      (br_if $next (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
    (call $store (local.get $c) (local.get $low) (local.get $high)))

  ;; `count` columns of B into the panel, line by line of eight; what is beyond them stays as it is.
  (func $pack (param $b i32) (param $row i32) (param $column i32) (param $k i32) (param $panel i32)
      (param $count i32)
    (local $from i32) (local $to i32) (local $left i32) (local $i i32)
    (if (i32.and (i32.eq (local.get $column) (i32.const 4)) (i32.eq (local.get $count) (i32.const 8)))
      (then
        (loop $next
          (v128.store (local.get $panel) (v128.load (local.get $b)))
          (v128.store offset=16 (local.get $panel) (v128.load offset=16 (local.get $b)))
          (local.set $b (i32.add (local.get $b) (local.get $row)))
          (local.set $panel (i32.add (local.get $panel) (i32.const 32)))
          (br_if $next (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
        (return)))
    (loop $columns
      (local.set $from (local.get $b))
      (local.set $to (i32.add (local.get $panel) (i32.shl (local.get $i) (i32.const 2))))
      (local.set $left (local.get $k))
      (loop $next
        (f32.store (local.get $to) (f32.load (local.get $from)))
        (local.set $from (i32.add (local.get $from) (local.get $row)))
        (local.set $to (i32.add (local.get $to) (i32.const 32)))
        (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (local.set $b (i32.add (local.get $b) (local.get $column)))
      (br_if $columns (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $count)))))

  ;; All rows of A times the panel, into columns of C that may take eight floats a row.
  (func $panel_times (param $a i32) (param $row i32) (param $column i32) (param $panel i32) (param $k i32)
      (param $c i32) (param $line i32) (param $m i32)
    (block $few
      (loop $fours
        (br_if $few (i32.lt_u (local.get $m) (i32.const 4)))
        (call $four (local.get $a) (local.get $row) (local.get $column) (local.get $panel) (local.get $k) (local.get $c) (local.get $line))
        (local.set $a (i32.add (local.get $a) (i32.shl (local.get $row) (i32.const 2))))
        (local.set $c (i32.add (local.get $c) (i32.shl (local.get $line) (i32.const 2))))
        (local.set $m (i32.sub (local.get $m) (i32.const 4)))
        (br $fours)))
    (block $none
      (loop $ones
        (br_if $none (i32.eqz (local.get $m)))
        (call $one (local.get $a) (local.get $column) (local.get $panel) (local.get $k) (local.get $c))
        (local.set $a (i32.add (local.get $a) (local.get $row)))
        (local.set $c (i32.add (local.get $c) (local.get $line)))
        (local.set $m (i32.sub (local.get $m) (i32.const 1)))
        (br $ones))))

  ;; The last columns, fewer than eight: each row by way of a line behind the panel.
  (func $tail (param $a i32) (param $row i32) (param $column i32) (param $panel i32) (param $k i32)
      (param $c i32) (param $line i32) (param $m i32) (param $count i32)
    (local $between i32) (local $i i32)
    (local.set $between (i32.add (local.get $panel) (i32.shl (local.get $k) (i32.const 5))))
    (loop $rows
      (call $one (local.get $a) (local.get $column) (local.get $panel) (local.get $k) (local.get $between))
      (local.set $i (i32.const 0))
      (loop $columns
        (f32.store (i32.add (local.get $c) (local.get $i)) (f32.load (i32.add (local.get $between) (local.get $i))))
        (br_if $columns (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4))) (i32.shl (local.get $count) (i32.const 2)))))
      (local.set $a (i32.add (local.get $a) (local.get $row)))
      (local.set $c (i32.add (local.get $c) (local.get $line)))
      (br_if $rows (local.tee $m (i32.sub (local.get $m) (i32.const 1))))))

  ;; One product of the batch; a, b and c are the addresses of its factors and its place.
  (func $matrix (param $call i32) (param $a i32) (param $b i32) (param $c i32)
    (local $left i32) (local $row i32) (local $column i32) (local $line i32) (local $m i32) (local $k i32) (local $panel i32)
    (local.set $row (i32.load offset=12 (local.get $call)))
    (local.set $column (i32.load offset=16 (local.get $call)))
    (local.set $line (i32.load offset=52 (local.get $call)))
    (local.set $m (i32.load offset=64 (local.get $call)))
    (local.set $left (i32.load offset=68 (local.get $call)))
    (local.set $k (i32.load offset=72 (local.get $call)))
    (local.set $panel (i32.load offset=76 (local.get $call)))
    (block $done
      (loop $panels
        (br_if $done (i32.lt_u (local.get $left) (i32.const 8)))
        (call $pack (local.get $b) (i32.load offset=32 (local.get $call)) (i32.load offset=36 (local.get $call)) (local.get $k) (local.get $panel) (i32.const 8))
        (call $panel_times (local.get $a) (local.get $row) (local.get $column) (local.get $panel) (local.get $k) (local.get $c) (local.get $line) (local.get $m))
        (local.set $b (i32.add (local.get $b) (i32.shl (i32.load offset=36 (local.get $call)) (i32.const 3))))
        (local.set $c (i32.add (local.get $c) (i32.const 32)))
        (local.set $left (i32.sub (local.get $left) (i32.const 8)))
        (br $panels)))
    (if (local.get $left)
      (then
        (call $pack (local.get $b) (i32.load offset=32 (local.get $call)) (i32.load offset=36 (local.get $call)) (local.get $k) (local.get $panel) (local.get $left))
        (call $tail (local.get $a) (local.get $row) (local.get $column) (local.get $panel) (local.get $k) (local.get $c) (local.get $line) (local.get $m) (local.get $left)))))

  (func (export "multiply") (param $call i32)
    (local $outer i32) (local $inner i32) (local $a i32) (local $b i32) (local $c i32)
    (loop $outers
      (local.set $a (i32.add (i32.load (local.get $call)) (i32.mul (local.get $outer) (i32.load offset=4 (local.get $call)))))
      (local.set $b (i32.add (i32.load offset=20 (local.get $call)) (i32.mul (local.get $outer) (i32.load offset=24 (local.get $call)))))
      (local.set $c (i32.add (i32.load offset=40 (local.get $call)) (i32.mul (local.get $outer) (i32.load offset=44 (local.get $call)))))
      (local.set $inner (i32.const 0))
      (loop $inners
        (call $matrix (local.get $call) (local.get $a) (local.get $b) (local.get $c))
        (local.set $a (i32.add (local.get $a) (i32.load offset=8 (local.get $call))))
        (local.set $b (i32.add (local.get $b) (i32.load offset=28 (local.get $call))))
        (local.set $c (i32.add (local.get $c) (i32.load offset=48 (local.get $call))))
        (br_if $inners (i32.lt_u (local.tee $inner (i32.add (local.get $inner) (i32.const 1))) (i32.load offset=60 (local.get $call)))))
      (br_if $outers (i32.lt_u (local.tee $outer (i32.add (local.get $outer) (i32.const 1))) (i32.load offset=56 (local.get $call))))))

  (func (export "adamw") (param $call i32)
    (local $w i32) (local $g i32) (local $m i32) (local $v i32) (local $i i32) (local $end i32)
    (local $floats i32) (local $beta1 v128) (local $rest1 v128) (local $beta2 v128) (local $rest2 v128)
    (local $bias v128) (local $eps v128) (local $keep v128) (local $size v128)
    (local $gradient v128) (local $first v128) (local $second v128)
    (local.set $w (i32.load (local.get $call)))
    (local.set $g (i32.load offset=4 (local.get $call)))
    (local.set $m (i32.load offset=8 (local.get $call)))
    (local.set $v (i32.load offset=12 (local.get $call)))
    (local.set $end (i32.shl (i32.load offset=16 (local.get $call)) (i32.const 2)))
    (local.set $floats (i32.load offset=20 (local.get $call)))
    (local.set $beta1 (v128.load32_splat (local.get $floats)))
    (local.set $rest1 (v128.load32_splat offset=4 (local.get $floats)))
    (local.set $beta2 (v128.load32_splat offset=8 (local.get $floats)))
    (local.set $rest2 (v128.load32_splat offset=12 (local.get $floats)))
    (local.set $bias (v128.load32_splat offset=16 (local.get $floats)))
    (local.set $eps (v128.load32_splat offset=20 (local.get $floats)))
    (local.set $keep (v128.load32_splat offset=24 (local.get $floats)))
    (local.set $size (v128.load32_splat offset=28 (local.get $floats)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $end)))
        (local.set $gradient (v128.load (i32.add (local.get $g) (local.get $i))))
        (local.set $first (f32x4.add
          (f32x4.mul (local.get $beta1) (v128.load (i32.add (local.get $m) (local.get $i))))
          (f32x4.mul (local.get $rest1) (local.get $gradient))))
        (local.set $second (f32x4.add
          (f32x4.mul (local.get $beta2) (v128.load (i32.add (local.get $v) (local.get $i))))
          (f32x4.mul (f32x4.mul (local.get $rest2) (local.get $gradient)) (local.get $gradient))))
        (v128.store (i32.add (local.get $m) (local.get $i)) (local.get $first))
        (v128.store (i32.add (local.get $v) (local.get $i)) (local.get $second))
        (v128.store (i32.add (local.get $w) (local.get $i)) (f32x4.sub
          (f32x4.mul (v128.load (i32.add (local.get $w) (local.get $i))) (local.get $keep))
          (f32x4.div
            (f32x4.mul (local.get $size) (local.get $first))
            (f32x4.add (f32x4.div (f32x4.sqrt (local.get $second)) (local.get $bias)) (local.get $eps)))))
        (local.set $i (i32.add (local.get $i) (i32.const 16)))
        (br $next))))

  (func (export "exp") (param $call i32)
    (local $at i32) (local $end i32) (local $table i32) (local $k i64)
    (local $z f64) (local $shifted f64) (local $r f64)
    (local.set $at (i32.load (local.get $call)))
    (local.set $end (i32.add (local.get $at) (i32.shl (i32.load offset=4 (local.get $call)) (i32.const 2))))
    (local.set $table (i32.load offset=8 (local.get $call)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $z (f64.mul
          (f64.const 0x1.71547652b82fep+5)
          (f64.max (f64.promote_f32 (f32.load (local.get $at))) (f64.const -104)))) ;; e^−104 rounds to 0
        (local.set $shifted (f64.add (local.get $z) (f64.const 0x1.8p+52))) ;; its last bits are k
        (local.set $k (i64.reinterpret_f64 (local.get $shifted)))
        (local.set $r (f64.sub (local.get $z) (f64.sub (local.get $shifted) (f64.const 0x1.8p+52))))
        (f32.store (local.get $at) (f32.demote_f64 (f64.mul
          (f64.add
            (f64.mul
              (f64.add (f64.mul (f64.const 0x1.c6af84b912394p-20) (local.get $r)) (f64.const 0x1.ebfce50fac4f3p-13))
              (f64.mul (local.get $r) (local.get $r)))
            (f64.add (f64.mul (f64.const 0x1.62e42ff0c52d6p-6) (local.get $r)) (f64.const 1)))
          (f64.reinterpret_i64 (i64.add
            (i64.load (i32.add (local.get $table)
              (i32.shl (i32.and (i32.wrap_i64 (local.get $k)) (i32.const 31)) (i32.const 3))))
            (i64.shl (local.get $k) (i64.const 47)))))))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))
        (br $next)))))
