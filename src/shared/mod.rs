//! What machines share: a second cache between a mount's own cache and its sources, in a store that is not trusted. It knows no names of
//! folders, and not whether an answer is fresh.
//!
//! A file is cut into extents of 4 MiB. Each is one value in the store, under a name that tells nothing, sealed block by block with keys
//! of the circle of machines that share. The name, and with it the key, belong to one extent of one version, so that a value in
//! another's place, of an older version, altered or cut is refused, and the source asked.
//!
//! ```text
//! upkeep — a store as a whole: tried, looked at, made smaller
//! source — Shared, the wrapper of a source that asks here first
//! giving — what comes from the source, on its way to a reader and to the tier
//! tier — what is asked and given, and what is refused
//! listed — Listed, the wrapper of a source whose listings machines have in common
//! circle — with whom a source shares
//! claim — which of the machines retrieves what is in no store yet
//! backend — a store as a mount sees it: patience, and whether it works
//! gather — blocks from the source until an extent of them is whole
//! sealed, listing — what a value is
//! usual — what reads take
//! seal — what a block of it is
//! trust — whose values are taken
//! key, breaker, counts, leases, store — secrets and names; rest after failures; numbers; who retrieves; where values lie
//! ```

mod backend;
mod breaker;
mod circle;
mod claim;
mod counts;
mod gather;
mod giving;
mod key;
mod leases;
#[cfg(test)]
mod lie_tests;
mod listed;
#[cfg(test)]
mod listed_tests;
mod listing;
#[cfg(test)]
mod many_tests;
#[cfg(test)]
mod mend_tests;
#[cfg(test)]
mod race_tests;
mod seal;
mod sealed;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod tier;
mod trust;
mod upkeep;
mod usual;

pub use circle::{Access, Circle, LateCircle};
pub use key::CircleKey;
pub use leases::Leases;
pub use listed::Listed;
pub use source::Shared;
pub use store::{Late, Place, Store, check};
pub use tier::{Health, Role, Services, Tier, Tuning};
pub use trust::{PublicKey, SigningKey, Trust};
pub use upkeep::{Tally, Work, shrink, tally, try_leases, try_out};
