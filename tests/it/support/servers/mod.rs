//! Database servers for the tests, as the user they accept to run as.

#[cfg(feature = "redis")]
pub(crate) mod redis;

#[cfg(feature = "redis")]
pub(crate) use self::redis::{Redis, RedisCluster};
