//! Where the access key comes from: each source against real files and the fake's services, their order, and what is said when
//! one does not work.

mod broken;
mod machine;
mod order;
mod renewal;
mod sources;
