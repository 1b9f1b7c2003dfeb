//! Words to token ids and their mask.

use tokenizers::models::ModelWrapper;
use tokenizers::{Tokenizer, TruncationParams};

/// A tokenizer of fixed output length.
pub struct TextTokens {
    tokenizer: Tokenizer,
    /// The token that stands for every word that is not known; none where the tokenizer knows them all.
    unknown: Option<u32>,
    max_tokens: usize,
}

/// A text as its encoder takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Ids, padded with 0.
    pub ids: Vec<i64>,
    /// 1 for each token, 0 where it is padded.
    pub mask: Vec<i64>,
    /// Whether any word, or part of one, is known: else all such texts of a length are one and the same.
    pub is_known: bool,
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
        let unknown = match tokenizer.get_model() {
            ModelWrapper::WordPiece(model) => Some(model.unk_token.as_str()),
            ModelWrapper::WordLevel(model) => Some(model.unk_token.as_str()),
            ModelWrapper::BPE(model) => model.unk_token.as_deref(),
            ModelWrapper::Unigram(_) => None,
        };
        let unknown = unknown.and_then(|token| tokenizer.token_to_id(token));
        Ok(Self { tokenizer, unknown, max_tokens })
    }

    /// Ids and attention mask, each `max_tokens` long.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn encode(&self, words: &str) -> Result<Tokens, String> {
        let encoding = self.tokenizer.encode(words, true).map_err(|why| why.to_string())?;
        let padded = |values: &[u32]| {
            let mut padded: Vec<i64> = values.iter().copied().map(i64::from).take(self.max_tokens).collect();
            padded.resize(self.max_tokens, 0);
            padded
        };
        // Marked as special are those that the tokenizer adds around every text.
        let mut of_words =
            encoding.get_ids().iter().zip(encoding.get_special_tokens_mask()).filter(|(_, added)| **added == 0);
        let is_known = of_words.any(|(id, _)| Some(*id) != self.unknown);
        Ok(Tokens { ids: padded(encoding.get_ids()), mask: padded(encoding.get_attention_mask()), is_known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_known_by_any_word_of_it() {
        for pack in ["tiny", "reference"] {
            let json = std::fs::read(format!("models/{pack}/tokenizer.json")).unwrap();
            let tokens = TextTokens::new(&json, 16).unwrap();
            let is_known = |words: &str| tokens.encode(words).unwrap().is_known;
            for known in ["a dog", "🐕 dog", "dog пёс", "qqzzx", "!", "HÜNDIN"] {
                assert!(is_known(known), "{pack}: {known}");
            }
            // The last is nothing but a space without width.
            for unknown in ["🐕", "🐕 🐈", "пёс", "犬", "собака лает", "\u{200b}"] {
                assert!(!is_known(unknown), "{pack}: {unknown}");
            }
        }
    }
}
