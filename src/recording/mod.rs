//! Recordings in MCAP: writing what sensors gave, and reading it back exactly.
