//! Moodle, at a site made from what a real one answered.

mod site;
mod tree;
