#!/usr/bin/perl
# Plays what Proxmox VE does when it runs a task, down to its files: a worker of its own, which
# writes the task's log without a buffer and the guest's log with one, both through Perl as
# Proxmox does; the list of running tasks, the index, and the scheduler's note of the job.
#
#   proxmox.pl vzdump [--job ID] [--storage ID] [--id VMID] GUEST...
#   proxmox.pl KIND [--id VMID] [--user USER] [LINE...]
#
# GUEST is `vmid:type:name:how`; how is `ok`, `warn=TEXT`, `fail=TEXT`, `die` (the worker is
# killed), or `hold=PATH`, which waits until that file is there and then is `ok`. LINE is printed
# as it is; one that begins with `fail=` ends the task. Prints the task's name at once, and returns
# when the task is over.
use strict;
use warnings;
use Fcntl;
use IO::Handle;
use POSIX qw(setsid strftime);

my ($tasks, $states, $dumps) =
    ('/var/log/pve/tasks', '/var/lib/pve-manager/jobs', '/var/log/vzdump');
my $www_data = getpwnam('www-data');

my $kind = shift @ARGV;
my %option = (id => '', user => 'root@pam', storage => 'local');
while (@ARGV && $ARGV[0] =~ /^--(\w+)$/) {
    shift @ARGV;
    $option{$1} = shift @ARGV;
}

sub clock { return strftime('%F %H:%M:%S', localtime) }

sub make {
    my ($folder) = @_;
    my $path = '';
    for my $part (grep { $_ ne '' } split m{/}, $folder) {
        $path .= "/$part";
        mkdir $path;
    }
}

# As PVE::INotify::write_file: a new file takes the old one's place.
sub replace {
    my ($path, $text) = @_;
    open(my $file, '>', "$path.tmp.$$") or die "$path: $!\n";
    print $file $text;
    close $file;
    rename("$path.tmp.$$", $path) or die "$path: $!\n";
}

sub active {
    my ($upid, $rest) = @_;
    my @lines;
    if (open(my $file, '<', "$tasks/active")) {
        @lines = grep { !/^\Q$upid\E / } <$file>;
    }
    replace("$tasks/active", join('', "$upid $rest\n", @lines));
}

make("$tasks");
make($states);
make($dumps);
pipe(my $names, my $name) or die;

my $pid = fork() // die;
if ($pid == 0) {
    close $names;
    setsid();
    open(my $stat, '<', "/proc/$$/stat") or die;
    my $start = (split / /, (<$stat> =~ s/^.*\) //r))[19];
    my $began = time;
    my $upid = sprintf('UPID:%s:%08X:%08X:%08X:%s:%s:%s:', (POSIX::uname())[1], $$, $start, $began,
        $kind, $option{id}, $option{user});
    my $folder = sprintf('%s/%X', $tasks, $began & 0xF);
    if (!-d $folder) {
        mkdir $folder;
        chown $www_data, 0, $folder;
    }
    umask 0027;
    sysopen(my $log, "$folder/$upid", O_WRONLY | O_CREAT | O_EXCL, 0640) or die "$upid: $!\n";
    umask 0022;
    chown $www_data, 0, "$folder/$upid";
    active($upid, '0');
    if ($option{job}) {
        replace("$states/vzdump-$option{job}.json",
            qq({"state":"started","time":$began,"upid":"$upid"}));
    }
    print $name "$upid\n";
    close $name;
    open(STDOUT, '>&', $log) or die;
    open(STDERR, '>&', $log) or die;
    close $log;
    STDOUT->autoflush(1);
    STDERR->autoflush(1);
    my $warnings = eval { $kind eq 'vzdump' ? vzdump() : other() };
    my $error = $@;
    if ($error) {
        chomp $error;
        print STDERR "TASK ERROR: $error\n";
    } elsif ($warnings) {
        print STDERR "TASK WARNINGS: $warnings\n";
    } else {
        print STDERR "TASK OK\n";
    }
    POSIX::_exit(0);
}
close $name;
my $upid = <$names>;
chomp $upid;
print "$upid\n";
STDOUT->flush();
waitpid($pid, 0);

my ($folder) = glob("$tasks/?/$upid");
open(my $log, '<', $folder) or die;
my $last = '';
while (<$log>) { $last = $_ }
chomp $last;
my $status =
      $last eq 'TASK OK' ? 'OK'
    : $last =~ /^TASK (WARNINGS: \d+)$/ ? $1
    : $last =~ /^TASK ERROR: (.*)$/ ? $1
    :                                     'unexpected status';
my $ended = sprintf('%08X', time);
open(my $index, '>>', "$tasks/index") or die;
print $index "$upid $ended $status\n";
close $index;
rename("$tasks/index", "$tasks/index.1") if -s "$tasks/index" > 50_000;
active($upid, "1 $ended $status");

sub vzdump {
    my @guests = map { [split /:/, $_, 4] } @ARGV;
    my ($failed, $warnings) = (0, 0);
    my $vmids = join(' ', map { $_->[0] } @guests);
    my $guest_log;
    my $tell = sub {
        my ($level, $text, $is_for_task_alone) = @_;
        for my $line (split /\n/, $text, -1) {
            print STDERR "$level: $line\n";
            print $guest_log clock(), " $level: $line\n" if $guest_log && !$is_for_task_alone;
        }
    };
    $tell->('INFO', "starting new backup job: vzdump $vmids --storage $option{storage} --quiet 1");
    for my $guest (@guests) {
        my ($vmid, $type, $name, $how) = @$guest;
        my $began = time;
        open($guest_log, '>', "$dumps/$type-$vmid.log") or die;
        $tell->('INFO', "Starting Backup of VM $vmid ($type)");
        $tell->('INFO', 'Backup started at ' . clock(), 1);
        $tell->('INFO', 'status = running');
        $tell->('INFO', ($type eq 'lxc' ? 'CT' : 'VM') . " Name: $name");
        $tell->('INFO', 'backup mode: snapshot');
        my $ending = $type eq 'lxc' ? 'tar.zst' : 'vma.zst';
        my $stamp = strftime('%Y_%m_%d-%H_%M_%S', localtime);
        $tell->('INFO', "creating vzdump archive '/mnt/pve/$option{storage}/dump/"
            . "vzdump-$type-$vmid-$stamp.$ending'");
        my ($word, $text) = split /=/, $how, 2;
        while ($word eq 'hold' && !-e $text) { select(undef, undef, undef, 0.05) }
        for my $percent (1 .. 20) {
            $tell->('INFO', sprintf('%3d%% (%d.0 MiB of 1.0 GiB) in 1s, read: 51.2 MiB/s, '
                . 'write: 48.0 MiB/s', $percent * 5, $percent * 51));
        }
        kill 'KILL', $$ if $word eq 'die';
        if ($word eq 'warn') {
            $warnings++;
            $tell->('WARN', $text);
        }
        if ($word eq 'fail') {
            $failed = 1;
            $tell->('ERROR', "Backup of VM $vmid failed - $text");
            $tell->('INFO', 'Failed at ' . clock(), 1);
        } else {
            $tell->('INFO', 'archive file size: 312MB');
            my $took = time - $began;
            $tell->('INFO', sprintf('Finished Backup of VM %d (%02d:%02d:%02d)', $vmid,
                int($took / 3600), int($took / 60) % 60, $took % 60));
            $tell->('INFO', 'Backup finished at ' . clock(), 1);
        }
        close $guest_log;
        undef $guest_log;
    }
    $tell->('INFO', 'Backup job finished ' . ($failed ? 'with errors' : 'successfully'));
    die "job errors\n" if $failed;
    return $warnings;
}

sub other {
    for my $line (@ARGV) {
        die "$1\n" if $line =~ /^fail=(.*)$/s;
        print "$line\n";
    }
    return 0;
}
