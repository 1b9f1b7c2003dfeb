//! Words to token ids and their mask.

use tokenizers::{Tokenizer, TruncationParams};

/// A tokenizer of fixed output length.
pub struct TextTokens {
    tokenizer: Tokenizer,
    max_tokens: usize,
}

impl TextTokens {
    /// From the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// When they are none.
    pub fn new(json: &[u8], max_tokens: usize) -> Result<Self, String> {
        let mut tokenizer =
            Tokenizer::from_bytes(json).map_err(|why| format!("it is no readable tokenizer ({why})"))?;
        // The closing token is kept: truncation leaves room for what the tokenizer adds.
        let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|why| format!("max_tokens = {max_tokens} does not fit: {why}"))?;
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, max_tokens })
    }

    /// Ids and attention mask, each `max_tokens` long, padded with 0.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn encode(&self, words: &str) -> Result<(Vec<i64>, Vec<i64>), String> {
        let encoding = self.tokenizer.encode(words, true).map_err(|why| why.to_string())?;
        let padded = |values: &[u32]| {
            let mut padded: Vec<i64> = values.iter().copied().map(i64::from).take(self.max_tokens).collect();
            padded.resize(self.max_tokens, 0);
            padded
        };
        Ok((padded(encoding.get_ids()), padded(encoding.get_attention_mask())))
    }
}
