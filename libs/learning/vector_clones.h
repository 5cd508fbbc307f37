// ROCHDALE_VECTOR_CLONES before a function compiles it for several vector widths and picks one at
// load time. Every clone computes the same bits: elementwise IEEE operations, no fused
// multiply-add (-ffp-contract=off), no reassociation. ROCHDALE_NO_VECTOR_CLONES leaves them out,
// for tests that compile the evaluator with options of their own.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(ROCHDALE_NO_VECTOR_CLONES) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define ROCHDALE_VECTOR_CLONES \
  __attribute__((target_clones("default", "avx2", "avx512f"), optimize("O3")))
#else
#define ROCHDALE_VECTOR_CLONES
#endif
