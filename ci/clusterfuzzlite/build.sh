#!/bin/bash -eu
# Builds the targets as ClusterFuzzLite and OSS-Fuzz expect them: binaries and zipped corpora in $OUT.
cd "$SRC/csi-certify"
cargo fuzz build -O --debug-assertions
for source in fuzz/fuzz_targets/*.rs; do
    name=$(basename "$source" .rs)
    cp "fuzz/target/x86_64-unknown-linux-gnu/release/$name" "$OUT/"
    zip -q -j "$OUT/${name}_seed_corpus.zip" "fuzz/corpus/$name"/*
done
