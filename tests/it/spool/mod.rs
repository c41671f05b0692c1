mod compression;
mod crash_oracle;
#[cfg(target_os = "linux")]
mod disk_faults;
#[cfg(feature = "gzip-http")]
mod fixture;
mod load;
mod origins;
#[cfg(target_os = "linux")]
mod power_cut;
#[cfg(all(target_os = "linux", feature = "cli"))]
mod real_disks;
mod recovery;
mod signals;
