mod compression;
mod crash_oracle;
#[cfg(target_os = "linux")]
mod disk_faults;
#[cfg(feature = "gzip-http")]
mod fixture;
mod load;
#[cfg(target_os = "linux")]
mod power_cut;
mod recovery;
