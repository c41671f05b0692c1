mod arrival;
mod blame;
mod refusals;
