mod basic;
mod switch;
