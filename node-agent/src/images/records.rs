//! The frame of CRIU's image files: magic numbers, then records with a length before them.

use std::io::Read;

use super::{
    Error,
    folder::{errno, shown},
};

/// A longer record is no record of the images read here.
const RECORD_LIMIT: u32 = 1 << 20;

/// Reads an image file record by record.
#[derive(Debug)]
pub(super) struct Records<R> {
    input: R,
    name: String,
}

impl<R: Read> Records<R> {
    /// Checks the magic numbers at the front.
    pub(super) fn open(input: R, name: &str, magics: &[u32]) -> Result<Self, Error> {
        let mut records = Self {
            input,
            name: name.to_owned(),
        };
        for magic in magics {
            match records.word()? {
                Some(word) if word == *magic => {}
                Some(_) => return Err(records.strange("has another magic number")),
                None => return Err(records.strange("is cut short")),
            }
        }
        Ok(records)
    }

    /// The next record as a message; `None` at the end.
    pub(super) fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, Error> {
        let Some(length) = self.word()? else {
            return Ok(None);
        };
        if length > RECORD_LIMIT {
            return Err(self.strange("has an overlong record"));
        }
        let mut record = Vec::new();
        (&mut self.input)
            .take(u64::from(length))
            .read_to_end(&mut record)
            .map_err(|error| Error::Read {
                name: self.name.clone(),
                source: errno(&error),
            })?;
        if record.len() as u64 != u64::from(length) {
            return Err(self.strange("is cut short"));
        }
        M::decode(record.as_slice())
            .map(Some)
            .map_err(|source| Error::Decode {
                name: self.name.clone(),
                source,
            })
    }

    /// A record that has to be there.
    pub(super) fn one<M: prost::Message + Default>(&mut self) -> Result<M, Error> {
        self.next()?.ok_or_else(|| self.strange("has no record"))
    }

    pub(super) fn strange(&self, problem: &'static str) -> Error {
        Error::Strange {
            name: shown(self.name.as_ref()),
            problem,
        }
    }

    fn word(&mut self) -> Result<Option<u32>, Error> {
        let mut word = Vec::with_capacity(4);
        (&mut self.input)
            .take(4)
            .read_to_end(&mut word)
            .map_err(|error| Error::Read {
                name: self.name.clone(),
                source: errno(&error),
            })?;
        match <[u8; 4]>::try_from(word.as_slice()) {
            Ok(word) => Ok(Some(u32::from_le_bytes(word))),
            Err(_) if word.is_empty() => Ok(None),
            Err(_) => Err(self.strange("is cut short")),
        }
    }
}
