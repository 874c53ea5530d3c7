//! Where the key comes from: each source against real files and small services, their order, and what is said when one does
//! not work.

mod broken;
mod cloud;
mod machine;
mod order;
mod renewal;
mod sources;
