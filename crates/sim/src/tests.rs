mod bypass;
mod forgery;
mod forwarding;
mod icmp;
mod masquerade;
mod tracking;
mod world;
