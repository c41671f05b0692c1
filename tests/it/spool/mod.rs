mod compression;
mod crash_oracle;
#[cfg(target_os = "linux")]
mod disk_faults;
#[cfg(feature = "gzip-http")]
mod fixture;
#[cfg(target_os = "linux")]
mod power_cut;
mod recovery;
