//! The origin of records: the process and its resource.

use opentelemetry::Key;
use opentelemetry::logs::AnyValue;
use opentelemetry_sdk::Resource;

use super::any_value::from_resource;

/// The process, as its resource describes it or as it is.
#[derive(Clone, Debug)]
pub(in crate::encode) struct Origin {
    /// The id that the resource gives. Without one the real id is asked for when it is needed, since a process can
    /// fork.
    process_id: Option<i64>,
    pub(in crate::encode) process_name: Option<String>,
    /// Sorted by name.
    pub(in crate::encode) resource: Vec<(Key, AnyValue)>,
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
        let service = || text("service.name").filter(|name| !name.starts_with("unknown_service"));
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

    pub(in crate::encode) fn process_id(&self) -> i64 {
        self.process_id.unwrap_or_else(|| std::process::id().into())
    }

    /// An attribute of the resource.
    pub(in crate::encode) fn get(&self, name: &str) -> Option<&AnyValue> {
        self.resource.iter().find(|(key, _)| key.as_str() == name).map(|(_, value)| value)
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
