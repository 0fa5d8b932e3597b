//! The limits on a tokenizer file and on a text, in one place.

/// Largest `tokenizer.json` that is read. BERT's are 0.7 to 3 MB, RoBERTa's 1.4 to 3.5 MB.
pub const MAX_FILE_BYTES: usize = 32 << 20;
/// Largest text (both halves of a pair together, or all words) that is encoded.
pub const MAX_TEXT_BYTES: usize = 64 << 20;
/// Longest stretch of text that is tokenised at once, where [`super::chunk`] finds no place to cut. The
/// `tokenizers` crate needs 50 to 600 bytes of memory per byte of text (the latter where every byte is a word),
/// so this bounds its memory.
pub(super) const MAX_RUN_BYTES: usize = 2 << 20;
/// Entries of a vocabulary.
pub(super) const MAX_VOCAB: usize = 1_000_000;
/// Merge rules of a BPE model.
pub(super) const MAX_MERGES: usize = 1_000_000;
/// Highest token id. Far above any embedding table, low enough that no sum of ids overflows.
pub(super) const MAX_ID: u32 = (1 << 24) - 1;
/// Bytes of one token.
pub(super) const MAX_TOKEN_BYTES: usize = 1024;
/// Added tokens (those matched before the model runs).
pub(super) const MAX_ADDED: usize = 10_000;
/// JSON values in all components besides the model and the added tokens.
pub(super) const MAX_NODES: usize = 20_000;
/// Components after which a chain of normalizers or pre-tokenizers is refused.
pub(super) const MAX_CHAIN: usize = 32;
/// Depth of `Sequence` inside `Sequence`.
pub(super) const MAX_DEPTH: usize = 4;
/// `max_input_chars_per_word`: WordPiece tries every end for every start of a word, so a word of `n`
/// characters can cost `n * n / 2` look-ups. BERT's value is 100.
pub(super) const MAX_WORD_CHARS: u64 = 512;
/// Bytes that a chain of `Replace` normalizers may make out of one byte.
pub(super) const MAX_GROWTH: usize = 8;
/// Pieces of a post-processor template.
pub(super) const MAX_PIECES: usize = 64;
