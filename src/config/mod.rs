//! Floor 3: the edit corridor's values. A file becomes located text (`load`), is checked whole
//! (`check`), has its references replaced (`resolve`) and ends as a `Snapshot`. Nothing here knows of
//! requests, providers' answers or databases.

pub mod snapshot;
