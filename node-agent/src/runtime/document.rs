//! Access to a JSON document somebody else wrote, in which every refusal names file and field.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::runtime::Error;

/// Longest list that is read; runtimes write far fewer mounts, devices or labels.
const MAX_ITEMS: usize = 65_536;

/// One value of a document, which knows where it stands.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    file: &'a Path,
    name: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    /// The document itself, which must be an object.
    pub(super) fn document(file: &'a Path, value: &'a Value) -> Result<Self, Error> {
        let root = Self {
            file,
            name: "(document)".to_owned(),
            value,
        };
        if value.is_object() {
            Ok(root)
        } else {
            Err(root.wrong("is not an object"))
        }
    }

    /// The refusal of this field for `problem`.
    pub(super) fn wrong(&self, problem: &'static str) -> Error {
        Error::Field {
            file: self.file.to_owned(),
            field: self.name.clone(),
            problem,
        }
    }

    /// A member, unless it is absent or null, which Go and C readers take for absent.
    pub(super) fn get(&self, key: &str) -> Result<Option<Field<'a>>, Error> {
        let object = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("is not an object"))?;
        Ok(object
            .get(key)
            .filter(|value| !value.is_null())
            .map(|value| self.member(key, value)))
    }

    /// A member that has to be there.
    pub(super) fn require(&self, key: &str) -> Result<Field<'a>, Error> {
        self.get(key)?
            .ok_or_else(|| self.member(key, &Value::Null).wrong("is missing"))
    }

    /// The members of an object.
    pub(super) fn members(&self) -> Result<Vec<(&'a str, Field<'a>)>, Error> {
        let object = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("is not an object"))?;
        if object.len() > MAX_ITEMS {
            return Err(self.wrong("has too many members"));
        }
        Ok(object
            .iter()
            .map(|(key, value)| (key.as_str(), self.member(key, value)))
            .collect())
    }

    /// The items of an array.
    pub(super) fn items(&self) -> Result<Vec<Field<'a>>, Error> {
        let array = self
            .value
            .as_array()
            .ok_or_else(|| self.wrong("is not an array"))?;
        if array.len() > MAX_ITEMS {
            return Err(self.wrong("has too many items"));
        }
        let items = array.iter().enumerate().map(|(index, value)| Field {
            file: self.file,
            name: format!("{}[{index}]", self.name),
            value,
        });
        Ok(items.collect())
    }

    /// The items of an array that may be absent.
    pub(super) fn items_of(&self, key: &str) -> Result<Vec<Field<'a>>, Error> {
        self.get(key)?
            .map_or_else(|| Ok(Vec::new()), |field| field.items())
    }

    /// A string; a NUL byte, which no path or name can hold, is refused.
    pub(super) fn text(&self) -> Result<&'a str, Error> {
        let text = self
            .value
            .as_str()
            .ok_or_else(|| self.wrong("is not a string"))?;
        if text.contains('\0') {
            return Err(self.wrong("holds a NUL byte"));
        }
        Ok(text)
    }

    /// A string that may be absent; absent and empty are the same to Go.
    pub(super) fn text_of(&self, key: &str) -> Result<Option<&'a str>, Error> {
        let text = self.get(key)?.map(|field| field.text()).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// The strings of an array that may be absent.
    pub(super) fn texts_of(&self, key: &str) -> Result<Vec<String>, Error> {
        self.items_of(key)?
            .iter()
            .map(|item| item.text().map(str::to_owned))
            .collect()
    }

    /// A path from `/`, without `..`.
    pub(super) fn absolute(&self) -> Result<PathBuf, Error> {
        let path = Path::new(self.text()?);
        if !path.is_absolute() {
            return Err(self.wrong("is not an absolute path"));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(self.wrong("is a path with \"..\" in it"));
        }
        Ok(path.to_owned())
    }

    /// A number of at least 0.
    pub(super) fn unsigned(&self) -> Result<u64, Error> {
        self.value
            .as_u64()
            .ok_or_else(|| self.wrong("is not a non-negative integer"))
    }

    /// An integer that may be absent.
    pub(super) fn integer_of(&self, key: &str) -> Result<Option<i64>, Error> {
        self.get(key)?
            .map(|field| {
                field
                    .value
                    .as_i64()
                    .ok_or_else(|| field.wrong("is not an integer"))
            })
            .transpose()
    }

    /// A truth value, false when absent.
    pub(super) fn flag_of(&self, key: &str) -> Result<bool, Error> {
        self.get(key)?.map_or(Ok(false), |field| {
            field
                .value
                .as_bool()
                .ok_or_else(|| field.wrong("is not true or false"))
        })
    }

    /// A process id that can be a container's init: not 0, not 1, within the kernel's range.
    pub(super) fn pid(&self) -> Result<i32, Error> {
        /// The kernel's `PID_MAX_LIMIT` on 64-bit machines.
        const PID_MAX_LIMIT: i64 = 4 * 1024 * 1024;
        let pid = self
            .value
            .as_i64()
            .ok_or_else(|| self.wrong("is not an integer"))?;
        match i32::try_from(pid) {
            Ok(narrow) if pid > 1 && pid <= PID_MAX_LIMIT => Ok(narrow),
            _ => Err(self.wrong("is no process id of a container")),
        }
    }

    fn member(&self, key: &str, value: &'a Value) -> Field<'a> {
        let name = if self.name == "(document)" {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        };
        Field {
            file: self.file,
            name,
            value,
        }
    }
}
