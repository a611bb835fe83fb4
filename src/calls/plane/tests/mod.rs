mod basic;
mod monitor;
mod random;
mod switch;
