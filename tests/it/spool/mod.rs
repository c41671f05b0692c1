mod compression;
mod crash_oracle;
#[cfg(target_os = "linux")]
mod disk_faults;
#[cfg(target_os = "linux")]
mod power_cut;
mod recovery;
