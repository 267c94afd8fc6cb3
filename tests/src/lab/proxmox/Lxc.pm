# What is particular about the backup of a container: storage snapshots, rsync, tar, and the client
# of Proxmox Backup Server.
package Lxc;
use strict;
use warnings;
use Child;
use Words;

my $root = '/mnt/vzsnap0';
my @as_its_root = qw(lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 --);
my @left_out = ('/tmp/?*', '/var/tmp/?*', '/var/run/?*.pid');

sub prepare {
    my ($self) = @_;
    my ($guest, $log) = @{$self}{qw(guest log)};
    $log->info('CT Name: ' . $guest->one('name')) if $guest->has('name');
    for my $mount ($guest->has('mount') ? $guest->all('mount') : 'in rootfs /') {
        if (my ($key, $path) = $mount =~ /^in (\S+) (.*)$/) {
            $log->info("including mount point $key ('$path') in backup");
        } elsif (my ($type, $out, $at, $why) = $mount =~ /^out (\S+) (\S+) (\S+) (.*)$/) {
            $log->info("excluding $type mount point $out ('$at') from backup ($why)");
        }
    }
    $self->step('prepare');
}

sub snapshot {
    my ($self) = @_;
    $self->{log}->info("create storage snapshot 'vzdump'");
    $self->step('snapshot');
    $self->{has_snapshot} = 1;
    $self->step('mount');
}

sub undo_snapshot {
    my ($self) = @_;
    my $log = $self->{log};
    if (delete $self->{has_snapshot}) {
        $log->info($log->since(6.3) ? "cleanup temporary 'vzdump' snapshot"
            : 'remove vzdump snapshot');
    }
    $self->step('cleanup');
}

# In mode `suspend` its files are copied twice, the second time while it stands still.
sub sync {
    my ($self, $which) = @_;
    my ($guest, $log, $dump) = @{$self}{qw(guest log dump)};
    my $from = '/proc/' . $guest->one('init-pid', $$) . '/root/';
    if ($which eq 'first' && $guest->has('on-nfs')) {
        $log->info('temporary directory is on NFS, disabling xattr and acl support, consider '
            . 'configuring a local tmpdir via /etc/vzdump.conf');
    }
    $log->info("starting $which sync $from to $dump->{tmpdir}");
    $self->step('sync') if $which eq 'first';
    Child::says($log);
    $log->info("$which sync finished - transferred 1.02M bytes in 0s");
    return 1;
}

sub assemble { $_[0]->step('assemble') }

sub archive {
    my ($self) = @_;
    my ($job, $guest, $log, $dump) = @{$self}{qw(job guest log dump)};
    my @client = $self->client if $job->has('pbs');
    $log->info('run: ' . join(' ', @client)) if @client;
    $self->step('started');
    if (@client) {
        Child::says($log, $self->words_of_client) if !$guest->{happens}{copied} && !$log->is_dry;
    } else {
        $dump->write;
        my $size = $guest->one('size', 312 << 20);
        my $human = ($size >> 20) . 'MiB';
        Child::says($log, "Total bytes written: $size ($human, $human/s)") if !$log->is_dry;
    }
    $self->step('copied');
}

# The mount points that are copied, below the folder where they are mounted.
sub sources {
    my ($self) = @_;
    return ('.') if $self->{mode} eq 'suspend';
    my @mounts = map { /^in \S+ (.*)$/ ? ".$1" : () } $self->{guest}->all('mount');
    return @mounts ? @mounts : ('./');
}

sub client {
    my ($self) = @_;
    my ($guest, $dump) = @{$self}{qw(guest dump)};
    my ($time, $repository) =
        split / /, $guest->one('client', "$dump->{began} root\@pam\@10.0.0.9:backup");
    return (
        @as_its_root, qw(/usr/bin/proxmox-backup-client backup --crypt-mode=none),
        "pct.conf:$dump->{tmpdir}/etc/vzdump/pct.conf", "root.pxar:$root",
        (map { ('--include-dev', "$root/$_") } $self->sources),
        '--skip-lost-and-found', (map { "--exclude=$_" } @left_out),
        qw(--backup-type ct --backup-id), $guest->{vmid},
        '--backup-time', $time, '--repository', $repository,
    );
}

# As recent versions of the client say it.
sub words_of_client {
    my ($self) = @_;
    my ($target, $tmpdir) = @{ $self->{dump} }{qw(target tmpdir)};
    return (
        "Starting backup: $target",
        'Client name: ' . (POSIX::uname())[1],
        "Upload config file '$tmpdir/etc/vzdump/pct.conf' to 'backup' as pct.conf.blob",
        "Upload directory '$root' to 'backup' as root.pxar.didx",
        'root.pxar: had to backup 25.49 MiB of 1.24 GiB (compressed 6.02 MiB) in 11.20 s '
            . '(average 2.28 MiB/s)',
        'root.pxar: backup was done incrementally, reused 1.22 GiB (98.0%)',
        'Uploaded backup catalog (1.30 MiB)',
        'Duration: 11.37s    ',
        'End Time: ' . POSIX::strftime('%a %b %e %H:%M:%S %Y', localtime) . '    ',
    );
}

# What the error says of tar or rsync, whichever was at work.
sub command_that_failed {
    my ($self, $code) = @_;
    my ($dump, $guest) = @{$self}{qw(dump guest)};
    my @command;
    if ($self->{mode} eq 'suspend') {
        my @attributes = $guest->has('on-nfs') ? () : qw(-X -A);
        my $pid = $guest->one('init-pid', $$);
        @command = ([
            qw(rsync --stats -h), @attributes,
            qw(--numeric-ids -aH --delete --no-whole-file --sparse --one-file-system --relative),
            (map { "--exclude=$_" } @left_out), "/proc/$pid/root//./", $dump->{tmpdir},
        ]);
    } else {
        @command = ([
            @as_its_root, qw(tar cpf - --totals --one-file-system -p --sparse --numeric-owner
                --acls --xattrs --xattrs-include=user.* --xattrs-include=security.capability
                --warning=no-file-ignored --warning=no-xattr-write --one-file-system
                --warning=no-file-ignored),
            "--directory=$dump->{tmpdir}", './etc/vzdump/pct.conf', './etc/vzdump/pct.fw',
            "--directory=$root", '--no-anchored', '--exclude=lost+found', '--anchored',
            (map { "--exclude=.$_" } @left_out), $self->sources,
        ], [qw(zstd --rsyncable --threads=1), ">$dump->{unfinished}"]);
    }
    return "command '" . Words::command(@command) . "' failed: exit code $code\n";
}

sub runs_again { return 0 }

1;
