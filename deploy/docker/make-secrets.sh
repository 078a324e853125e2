#!/bin/sh
# Makes the password that the brokers and the Redis of docker-compose.yml share, and the two files that hold it, in the
# folder secrets beside this script or in $1. What is there already stays.
set -eu
folder=${1:-$(dirname "$0")/secrets}
if [ -e "$folder/redis.conf" ] && [ -e "$folder/redis-url" ]; then
    echo "the secrets in $folder are there already"
    exit 0
fi
# Nobody else on this machine gets into the folder. Compose mounts the files one by one, into containers whose users have
# other numbers than you: they must be able to read them.
(umask 077 && mkdir -p "$folder")
umask 022
password=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
cat >"$folder/redis.conf" <<END
dir /data
# On disk after a second at the latest.
appendonly yes
appendfsync everysec
# Nothing is ever thrown out to make room; what does not fit is refused.
maxmemory 768mb
maxmemory-policy noeviction
# Reached over the private network of the containers; users without a password may only ask whether it is there.
protected-mode no
user default on nopass resetkeys resetchannels -@all +ping
# The line in docs/security.md.
user dibs on >$password resetkeys ~dibs:* resetchannels &dibs:* -@all +ping +info +select +subscribe +pubsub|numsub +scan +eval +evalsha +decr +del +exists +get +getrange +hdel +hexists +hget +hincrby +hlen +hmget +hrandfield +hscan +hset +hstrlen +hvals +incr +llen +lpush +lrange +ltrim +pexpire +pttl +publish +rpush +sadd +scard +set +sinter +sismember +smembers +spop +srandmember +srem +strlen +time +unlink +zadd +zcard +zcount +zmscore +zrange +zrangebylex +zrangebyscore +zrem +zremrangebyrank +zremrangebyscore +zscore
END
echo "redis://dibs:$password@redis:6379/0" >"$folder/redis-url"
echo "made $folder/redis.conf and $folder/redis-url"
