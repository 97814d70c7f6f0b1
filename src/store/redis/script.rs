//! What Redis does in one step: the scripts, all on keys of one slot.
//!
//! Versions and times are compared as text: a number in Lua is a double, and
//! holds neither every counter nor every writer.

use std::sync::LazyLock;

/// A script, and the SHA-1 by which a server that knows it finds it.
pub(super) struct Script {
    pub(super) source: &'static str,
    pub(super) hash: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        let hash = ::redis::Script::new(source).get_hash().to_owned();
        Self { source, hash }
    }
}

/// What a script says, where it is not about the index.
pub(super) const MISSING: i64 = 0;
pub(super) const OTHER_VERSION: i64 = 1;
pub(super) const DONE: i64 = 2;
/// Done, and the user is another: he has to be indexed.
pub(super) const DONE_OTHER_USER: i64 = 3;
/// The version that was to be stored is there: its reply was lost, and it is sent again.
pub(super) const DONE_BEFORE: i64 = 4;

/// Keys: session, bucket. Arguments: id, record, version, last seen, expiry, user, native expiry.
pub(super) static CREATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
redis.call('ZADD', KEYS[2], 0, ARGV[1] .. ARGV[6])
redis.call('HSET', KEYS[1], 'r', ARGV[2], 'v', ARGV[3], 's', ARGV[4], 'e', ARGV[5], 'u', ARGV[6])
if ARGV[7] ~= '' then redis.call('PEXPIREAT', KEYS[1], ARGV[7]) end
return 2",
    )
});

/// Keys and arguments as for `CREATE`, and the expected version.
///
/// The entry of a former user stays in the bucket, for the sweep to take the
/// session out of that user's index.
pub(super) static UPDATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local old = redis.call('HMGET', KEYS[1], 'v', 'u')
if not old[1] then return redis.call('EXISTS', KEYS[1]) end
if old[1] == ARGV[3] then return 4 end
if old[1] ~= ARGV[8] then return 1 end
local done = 2
if old[2] ~= ARGV[6] then
  done = 3
  redis.call('ZADD', KEYS[2], 0, ARGV[1] .. ARGV[6])
  if old[2] == '' then redis.call('ZREM', KEYS[2], ARGV[1]) end
end
redis.call('HSET', KEYS[1], 'r', ARGV[2], 'v', ARGV[3], 's', ARGV[4], 'e', ARGV[5], 'u', ARGV[6])
if ARGV[7] == '' then redis.call('PERSIST', KEYS[1])
else redis.call('PEXPIREAT', KEYS[1], ARGV[7]) end
return done",
    )
});

/// Key: session. Arguments: expected version, last seen, expiry, native expiry.
pub(super) static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local old = redis.call('HMGET', KEYS[1], 'v', 's', 'e')
if not old[1] then return redis.call('EXISTS', KEYS[1]) end
if old[1] ~= ARGV[1] then return 1 end
local function later(a, b) return #a > #b or (#a == #b and a > b) end
if later(ARGV[2], old[2] or '') then redis.call('HSET', KEYS[1], 's', ARGV[2]) end
if old[3] ~= '' and ARGV[3] == '' then
  redis.call('HSET', KEYS[1], 'e', '')
  redis.call('PERSIST', KEYS[1])
elseif old[3] ~= '' and later(ARGV[3], old[3] or '') then
  redis.call('HSET', KEYS[1], 'e', ARGV[3])
  redis.call('PEXPIREAT', KEYS[1], ARGV[4])
end
return 2",
    )
});

/// Keys: session, bucket. Arguments: id, and `w` where replicas are waited for.
///
/// A user's session stays in the bucket, for the sweep to take it out of the
/// user's index. A wait is for the connection's own last write, so there has
/// to be one, even where the session was deleted by a call whose reply was lost.
pub(super) static DELETE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local user = redis.pcall('HGET', KEYS[1], 'u')
local there = redis.call('DEL', KEYS[1])
if there == 0 and ARGV[2] == 'w' then
  redis.call('SET', KEYS[1], '')
  redis.call('DEL', KEYS[1])
end
if there == 1 and user == '' then redis.call('ZREM', KEYS[2], ARGV[1]) end
return there",
    )
});

/// Key: session. What is there, written once more, so that replicas can be
/// waited for: whoever wrote it may not have waited long enough.
pub(super) static CONFIRM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local version = redis.call('HGET', KEYS[1], 'v')
if version then redis.call('HSET', KEYS[1], 'v', version) end
return redis.call('HMGET', KEYS[1], 'r', 's', 'e', 'u')",
    )
});

/// Keys: sessions of one bucket. Arguments: the user of each, as its entry has
/// it. Says which entries are stale, counting from one.
pub(super) static STALE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stale = {}
for place, key in ipairs(KEYS) do
  local user = redis.pcall('HGET', key, 'u')
  if type(user) ~= 'table' and user ~= ARGV[place] then stale[#stale + 1] = place end
end
return stale",
    )
});
