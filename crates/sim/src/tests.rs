mod bypass;
mod forgery;
mod forwarding;
mod icmp;
mod masquerade;
mod services;
mod tracking;
mod world;
