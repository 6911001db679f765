mod forwarding;
mod forgery;
mod icmp;
mod masquerade;
mod tracking;
mod world;
