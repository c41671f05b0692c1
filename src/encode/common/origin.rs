//! The origin of records: the process and its resource.
//!
//! [`Origin`] is this process, as an encoder knows it once and for all. [`Source`] is the process of one record: this one, or the other one
//! that the record names.

use opentelemetry::Key;
use opentelemetry::logs::AnyValue;
use opentelemetry_sdk::Resource;

use super::any_value::from_resource;
use crate::encode::view::{LogView, RecordOrigin};

/// The name of a process that its program has given it, which is not the name of its executable.
const PROCESS_NAME: &str = "process.name";

const UNKNOWN_SERVICE: &str = "unknown_service";

/// This process, as its resource describes it or as it is.
#[derive(Clone, Debug)]
pub(in crate::encode) struct Origin {
    /// The id that the resource gives. Without one the real id is asked for when it is needed, since a process can
    /// fork.
    process_id: Option<i64>,
    process_name: Option<String>,
    /// Sorted by name.
    resource: Vec<(Key, AnyValue)>,
}

impl Default for Origin {
    fn default() -> Self {
        Self { process_id: None, process_name: executable_name(), resource: Vec::new() }
    }
}

impl Origin {
    pub(in crate::encode) fn of(resource: &Resource) -> Self {
        let text = |name| {
            let value = resource.get_ref(&Key::from_static_str(name))?;
            Some(value.as_str().into_owned()).filter(|text| !text.is_empty())
        };
        let service = || text("service.name").filter(|name| !name.starts_with(UNKNOWN_SERVICE));
        let process_name = text("process.executable.name").or_else(service).or_else(executable_name);
        let process_id = match resource.get_ref(&Key::from_static_str("process.pid")) {
            Some(opentelemetry::Value::I64(id)) => Some(*id),
            _ => None,
        };
        let mut resource: Vec<_> = resource.iter().map(|(key, value)| (key.clone(), from_resource(value))).collect();
        // A resource is a hash map; records of one program should still look alike from run to run.
        resource.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        Self { process_id, process_name, resource }
    }

    fn process_id(&self) -> i64 {
        self.process_id.unwrap_or_else(|| std::process::id().into())
    }

    /// The process of a record.
    #[inline]
    pub(in crate::encode) fn of_record<'a>(&'a self, record: &'a (impl LogView + ?Sized)) -> Source<'a> {
        Source { own: self, other: record.origin() }
    }

    /// The process of the records that name none.
    pub(in crate::encode) fn own(&self) -> Source<'_> {
        Source { own: self, other: None }
    }
}

/// The process of a record: the other one that it names, else this one.
#[derive(Clone, Copy)]
pub(in crate::encode) struct Source<'a> {
    own: &'a Origin,
    other: Option<&'a RecordOrigin>,
}

impl<'a> Source<'a> {
    /// The other process, if the record is of one.
    #[inline]
    pub(in crate::encode) fn other(self) -> Option<&'a RecordOrigin> {
        self.other
    }

    pub(in crate::encode) fn process_id(self) -> Option<i64> {
        let Some(other) = self.other else { return Some(self.own.process_id()) };
        let in_resource = || match find(&other.resource, "process.pid")? {
            AnyValue::Int(id) => Some(*id),
            _ => None,
        };
        other.process_id.or_else(in_resource)
    }

    pub(in crate::encode) fn process_name(self) -> Option<&'a str> {
        let Some(other) = self.other else { return self.own.process_name.as_deref() };
        let in_resource = || {
            let mut texts = [PROCESS_NAME, "process.executable.name", "service.name"].into_iter().filter_map(|name| {
                let AnyValue::String(text) = find(&other.resource, name)? else { return None };
                Some(text.as_str())
            });
            texts.find(|text| !text.is_empty() && !text.starts_with(UNKNOWN_SERVICE))
        };
        other.process_name.as_deref().or_else(in_resource)
    }

    /// An attribute of the resource.
    pub(in crate::encode) fn get(self, name: &str) -> Option<&'a AnyValue> {
        let Some(other) = self.other else { return find(&self.own.resource, name) };
        find(&other.resource, name).or_else(|| {
            let (_, value) = self.lent(other).find(|(key, _)| key.as_str() == name)?;
            Some(value)
        })
    }

    /// The attributes of the resource.
    pub(in crate::encode) fn resource(self) -> impl Iterator<Item = (&'a Key, &'a AnyValue)> {
        let own = self.other.map_or(&self.own.resource, |other| &other.resource);
        let lent = self.other.into_iter().flat_map(move |other| self.lent(other));
        own.iter().map(|(key, value)| (key, value)).chain(lent)
    }

    /// The attributes of this process's resource that count for another process as well.
    fn lent(self, other: &'a RecordOrigin) -> impl Iterator<Item = (&'a Key, &'a AnyValue)> {
        let own = if other.resource_is_complete { &[] } else { &*self.own.resource };
        let lent =
            own.iter().filter(|(key, value)| is_lent(key, value) && find(&other.resource, key.as_str()).is_none());
        lent.map(|(key, value)| (key, value))
    }

    /// Another process's id and name as attributes of its resource, for formats that have no other place for them. A complete resource
    /// says all there is to say.
    pub(in crate::encode) fn process_attributes(self) -> impl Iterator<Item = (Key, AnyValue)> {
        let other = self.other.filter(|other| !other.resource_is_complete);
        let id = other.and_then(|other| other.process_id).map(|id| ("process.pid", id.into()));
        let name = other.and_then(|other| other.process_name.clone()).map(|name| (PROCESS_NAME, name.into()));
        let is_new = move |name| other.is_some_and(|other| find(&other.resource, name).is_none());
        let attributes = id.into_iter().chain(name).filter(move |(name, _)| is_new(name));
        attributes.map(|(name, value)| (Key::from_static_str(name), value))
    }
}

fn find<'a>(resource: &'a [(Key, AnyValue)], name: &str) -> Option<&'a AnyValue> {
    resource.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value)
}

/// Whether an attribute of this process's resource says something about others of its host, not about itself and its SDK alone.
fn is_lent(key: &Key, value: &AnyValue) -> bool {
    match key.as_str() {
        // The SDK's name for a service that nobody has named.
        "service.name" => !matches!(value, AnyValue::String(name) if name.as_str().starts_with(UNKNOWN_SERVICE)),
        name => !["process.", "telemetry."].iter().any(|own| name.starts_with(own)),
    }
}

/// The name of the machine or container, where the system tells it in a file or a variable.
pub(in crate::encode) fn host_name() -> Option<String> {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let in_files = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let in_variables = ["HOSTNAME", "COMPUTERNAME"].iter().filter_map(|name| std::env::var(name).ok());
    in_files.chain(in_variables).map(|name| name.trim().to_owned()).find(|name| !name.is_empty())
}

fn executable_name() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}
