//! Sessions that tower-sessions has written to PostgreSQL and Redis go on as cloakroom's.

mod going_back;
mod import;
mod nodes;
mod remaining;
mod seals;
mod support;
mod switch;
