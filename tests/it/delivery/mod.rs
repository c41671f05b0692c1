mod arrival;
mod refusals;
