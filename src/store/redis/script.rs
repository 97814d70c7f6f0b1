//! The scripts that Redis runs in one step, on keys of one slot.
//!
//! A command that a script calls costs as much as the script itself, so the common path of each script calls as few as
//! possible. `stored.rs` describes the layout of a session. Versions and times are compared as text, because a number
//! in Lua is a double.

use std::sync::LazyLock;

use ::redis::{Arg, Cmd};

/// A script, and its SHA-1, by which a server finds it.
pub(super) struct Script {
    source: &'static str,
    hash: String,
}

impl Script {
    fn new(source: &'static str) -> Self {
        let hash = ::redis::Script::new(source).get_hash().to_owned();
        Self { source, hash }
    }

    /// A call of it on these keys; its arguments follow.
    pub(super) fn on<K: AsRef<[u8]>>(&self, keys: &[K]) -> Cmd {
        let mut call = ::redis::cmd("EVALSHA");
        call.arg(&self.hash).arg(keys.len());
        for key in keys {
            call.arg(key.as_ref());
        }
        call
    }
}

static ALL: [&LazyLock<Script>; 6] = [&CREATE, &UPDATE, &TOUCH, &DELETE, &CONFIRM, &STALE];

/// The same call for a server that does not know the script, for example after a restart, with the whole text. Other
/// commands stay as they are.
pub(super) fn with_source(command: &Cmd) -> Cmd {
    let mut arguments = command.args_iter().filter_map(|argument| match argument {
        Arg::Simple(argument) => Some(argument),
        _ => None,
    });
    let (name, hash) = (arguments.next(), arguments.next());
    let is_of = |script: &&&LazyLock<Script>| Some(script.hash.as_bytes()) == hash;
    let Some(script) = ALL.iter().find(is_of).filter(|_| name == Some(b"EVALSHA")) else {
        return command.clone();
    };
    let mut with_source = ::redis::cmd("EVAL");
    with_source.arg(script.source);
    for argument in arguments {
        with_source.arg(argument);
    }
    with_source
}

/// The replies of the scripts on a session.
pub(super) const MISSING: i64 = 0;
pub(super) const OTHER_VERSION: i64 = 1;
pub(super) const DONE: i64 = 2;
/// The new version is stored already: its reply was lost, and the driver sent the call again.
pub(super) const DONE_BEFORE: i64 = 4;
/// The script does not know the layout of the stored string.
pub(super) const NO_SESSION: i64 = 5;

/// Keys: session, bucket and further indexes. Arguments: entry in the bucket, for each further index the session's score in
/// it, session and further arguments of `SET`.
///
/// The indexes are written first, so that no session is missing in them if that fails.
pub(super) static CREATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local more = #KEYS - 2
for place = 1, more do
  redis.call('ZADD', KEYS[2 + place], 'NX', ARGV[1 + place], string.sub(ARGV[1], 1, 16))
end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if not redis.call('SET', KEYS[1], ARGV[2 + more], 'NX', unpack(ARGV, 3 + more)) then return 1 end
return 2",
    )
});

/// Keys: session, bucket, and on a single server the user's index. Arguments: the expected beginning of the head, with
/// the user of the new session; id, entry in the bucket, the time, session and further arguments of `SET`.
///
/// The entry of a former user stays in the bucket, so that the sweep removes the session from that user's
/// index.
pub(super) static UPDATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local begin = redis.call('GETRANGE', KEYS[1], 0, 71)
if begin ~= ARGV[1] then
  if begin == '' then return 0 end
  if string.sub(begin, 1, 2) ~= '1 ' then return 5 end
  local version = string.sub(begin, 1, 39)
  if version == string.sub(ARGV[5], 1, 39) then return 4 end
  if version ~= string.sub(ARGV[1], 1, 39) then return 1 end
  if KEYS[3] then redis.call('ZADD', KEYS[3], ARGV[4], ARGV[2]) end
  redis.call('ZADD', KEYS[2], 0, ARGV[3])
  if string.sub(begin, 41, 41) == '-' then redis.call('ZREM', KEYS[2], ARGV[2]) end
end
redis.call('SET', KEYS[1], unpack(ARGV, 5))
return 2",
    )
});

/// Key: session. Arguments: layout and version expected, last seen, expiry, native expiry.
///
/// The native expiry comes last: it may take the key away.
pub(super) static TOUCH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local head = redis.call('GETRANGE', KEYS[1], 0, 103)
if string.sub(head, 1, 39) ~= ARGV[1] then
  if head == '' then return 0 end
  if string.sub(head, 1, 2) ~= '1 ' then return 5 end
  return 1
end
local seen, expiry = string.sub(head, 74, 88), string.sub(head, 90, 104)
local is_longer = ARGV[3] > expiry
if ARGV[2] > seen then seen = ARGV[2] elseif not is_longer then return 2 end
if is_longer then expiry = ARGV[3] end
redis.call('SETRANGE', KEYS[1], 73, seen .. ' ' .. expiry)
if is_longer then
  if ARGV[4] == '' then redis.call('PERSIST', KEYS[1])
  else redis.call('PEXPIREAT', KEYS[1], ARGV[4]) end
end
return 2",
    )
});

/// Keys: session, bucket, and the index of the newest if there is one. Arguments: id, and `w`
/// if the call waits for replicas.
///
/// The entry of a user's session stays in the bucket, so that the sweep removes it from the user's index.
/// `WAIT` waits for the connection's own last write. So the script always writes, even if an earlier call
/// whose reply was lost has deleted the session.
pub(super) static DELETE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local user = redis.pcall('GETRANGE', KEYS[1], 40, 40)
local there = redis.call('DEL', KEYS[1])
if there == 0 and ARGV[2] == 'w' then
  redis.call('SET', KEYS[1], '')
  redis.call('DEL', KEYS[1])
end
if there == 1 and user == '-' then redis.call('ZREM', KEYS[2], ARGV[1]) end
if there == 1 and KEYS[3] then redis.call('ZREM', KEYS[3], ARGV[1]) end
return there",
    )
});

/// Key: session. Writes the stored string again, so that the call can wait for replicas: the call that wrote it may not
/// have waited long enough.
pub(super) static CONFIRM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local session = redis.call('GET', KEYS[1])
if session then redis.call('SETRANGE', KEYS[1], 0, string.sub(session, 1, 1)) end
return session",
    )
});

/// Keys: sessions of one bucket. Arguments: the user of each entry, as the head has it. Returns which entries are stale,
/// counted from one. A session of an unknown layout is not stale.
pub(super) static STALE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stale = {}
for place, key in ipairs(KEYS) do
  local begin = redis.pcall('GETRANGE', key, 0, 71)
  if begin == '' or (type(begin) == 'string' and string.sub(begin, 1, 2) == '1 '
    and string.sub(begin, 41, 72) ~= ARGV[place]) then stale[#stale + 1] = place end
end
return stale",
    )
});
