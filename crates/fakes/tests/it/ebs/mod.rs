//! The fake EBS, talked to by AWS's own client and by requests that AWS's own signer signed.

mod ec2;
mod faults;
mod lists;
mod signatures;
mod snapshots;
mod support;
