//! Real mount pods of this host: a FUSE process for each pod, loop devices for block volumes.
