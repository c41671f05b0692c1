mod arrival;
mod backlog;
mod blame;
mod refusals;
